"""The attacks that must be caught, and the tests that catch them: read here what is tried, and there how.

Groups: A what lies in the store, B archives, C npm, D signatures, E updates, F Python, G launch lines, H what happens
at the same time, over time, or beside the registries.  A test names its rows too, with `catches`, or at the start of
the name of the case that stands for the row, and `test_attack_table` compares both ways.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeVar

_Test = TypeVar("_Test", bound=Callable[..., object])


def catches(*rows: str) -> Callable[[_Test], _Test]:
    """Say which attacks a test stands for."""

    def mark(test: _Test) -> _Test:
        test.catches = rows  # type: ignore[attr-defined]
        return test

    return mark


@dataclass(frozen=True, slots=True)
class Attack:
    """What somebody tries, and the tests below `tests` that see it fail."""

    tried: str
    tests: tuple[str, ...]


ATTACKS: Final[Mapping[str, Attack]] = MappingProxyType({
    "A00": Attack("Nobody touches anything, and the server starts: the check does not cry wolf.", (
        "trust/test_store.py::test_an_untouched_object_is_verified_and_says_how_to_start_it",
    )),
    "A01": Attack("A file of a server is given other content.", (
        "trust/test_store.py::test_the_launch_is_refused_after",
    )),
    "A02": Attack("One bit of a file is flipped, its length and times kept.", (
        "trust/test_store.py::test_a_changed_byte_in_the_store_refuses_the_launch_and_names_the_file",
    )),
    "A03": Attack("A file is put beside the server's own.", ("trust/test_store.py::test_the_launch_is_refused_after",)),
    "A04": Attack("An empty folder is put where a program may look for a module.", (
        "trust/test_store.py::test_the_launch_is_refused_after",
    )),
    "A05": Attack("A file is taken away.", ("trust/test_store.py::test_the_launch_is_refused_after",)),
    "A06": Attack("A link takes the place of a file.", ("trust/test_store.py::test_the_launch_is_refused_after",)),
    "A07": Attack("A link to the same content takes the place of a folder.", (
        "trust/test_store.py::test_the_launch_is_refused_after",
    )),
    "A08": Attack("A file is given a second name, through which it can be written later.", (
        "trust/test_store.py::test_the_launch_is_refused_after",
    )),
    "A09": Attack("A file is made writable.", ("trust/test_store.py::test_the_launch_is_refused_after",)),
    "A10": Attack("A folder is made writable.", (
        "trust/test_store.py::test_a_folder_that_became_writable_refuses_the_launch",
    )),
    "A11": Attack("A file is made executable.", ("trust/test_store.py::test_the_launch_is_refused_after",)),
    "A12": Attack("A file is to run with its owner's rights.", (
        "trust/test_store.py::test_the_launch_is_refused_after",
    )),
    "A13": Attack("A pipe takes the place of a file, to keep the check waiting.", (
        "trust/test_store.py::test_the_launch_is_refused_after",
    )),
    "A14": Attack("A file is renamed by case alone.", ("trust/test_store.py::test_the_launch_is_refused_after",)),
    "A15": Attack("A file or the whole object comes to belong to somebody else.", (
        "trust/test_store.py::test_what_belongs_to_somebody_else_refuses_the_launch",
    )),
    "A16": Attack("The list of packages that lies inside the object is edited.", (
        "trust/test_hostile_npm.py::test_the_list_of_packages_inside_an_object_cannot_be_edited_unnoticed",
    )),
    "A17": Attack("A link takes the place of the whole object.", (
        "trust/test_store.py::test_an_object_that_was_swapped_for_a_link_is_refused",
    )),
    "A18": Attack("The list of files is edited to agree with files that were changed.", (
        "trust/test_store.py::test_a_list_of_files_changed_to_match_changed_files_no_longer_has_the_agreed_hash",
    )),
    "A19": Attack("The table of what a person agreed to is edited.", (
        "test_agreed.py::test_a_table_changed_by_somebody_else_makes_nothing_count",
    )),
    "A20": Attack("An older state of the documents is put back, from a backup or with the whole home.", (
        "test_rollback.py::test_documents_put_back_from_a_backup_do_not_count_and_are_shown_as_drift",
        "test_rollback.py::test_the_keychain_remembers_when_the_whole_home_is_put_back",
    )),
    "B01": Attack("A tarball's member climbs out of its folder.", (
        "trust/test_tarball.py::test_a_tarball_is_refused_that_holds",
    )),
    "B02": Attack("A tarball's member has an absolute path.", (
        "trust/test_tarball.py::test_a_tarball_is_refused_that_holds",
    )),
    "B03": Attack("A tarball holds a link.", ("trust/test_tarball.py::test_a_tarball_is_refused_that_holds",)),
    "B04": Attack("A tarball holds a link, then a file whose path goes through it.", (
        "trust/test_tarball.py::test_a_tarball_is_refused_that_holds",
    )),
    "B05": Attack("A tarball holds a hard link.", ("trust/test_tarball.py::test_a_tarball_is_refused_that_holds",)),
    "B06": Attack("A tarball holds a device.", ("trust/test_tarball.py::test_a_tarball_is_refused_that_holds",)),
    "B07": Attack("A tarball holds a pipe.", ("trust/test_tarball.py::test_a_tarball_is_refused_that_holds",)),
    "B08": Attack("A tarball holds one member twice, so that two readers see two files.", (
        "trust/test_tarball.py::test_a_tarball_is_refused_that_holds",
    )),
    "B09": Attack("Two names are one file where case does not count.", (
        "trust/test_tarball.py::test_a_tarball_is_refused_that_holds",
    )),
    "B10": Attack("Two names are one file where forms of Unicode do not count.", (
        "trust/test_tarball.py::test_a_tarball_is_refused_that_holds",
    )),
    "B11": Attack("A name means a device on Windows.", (
        "trust/test_tarball.py::test_a_tarball_is_refused_that_holds",
    )),
    "B12": Attack("A name ends in a dot, which Windows drops.", (
        "trust/test_tarball.py::test_a_tarball_is_refused_that_holds",
    )),
    "B13": Attack("A name means a hidden stream of another file on Windows.", (
        "trust/test_tarball.py::test_a_tarball_is_refused_that_holds",
    )),
    "B14": Attack("A backslash separates folders on another system.", (
        "trust/test_tarball.py::test_a_tarball_is_refused_that_holds",
    )),
    "B15": Attack("A name holds characters that change how it looks.", (
        "trust/test_tarball.py::test_a_tarball_is_refused_that_holds",
    )),
    "B16": Attack("A path is a file and a folder.", ("trust/test_tarball.py::test_a_tarball_is_refused_that_holds",)),
    "B17": Attack("A small tarball unpacks to very much.", (
        "trust/test_tarball.py::test_a_bomb_is_refused_while_it_unpacks",
    )),
    "B18": Attack("A second archive hides behind the first.", (
        "trust/test_tarball.py::test_a_second_gzip_member_is_refused",
    )),
    "B19": Attack("A tarball holds more files than any package.", (
        "trust/test_tarball.py::test_too_many_files_are_refused",
    )),
    "B20": Attack("A wheel's member climbs out, listed in RECORD or not.", (
        "trust/test_wheel.py::test_a_wheel_is_refused_with_a_file_that",
        "trust/test_wheel.py::test_a_wheel_is_refused_with_a_recorded_file_named",
    )),
    "B21": Attack("A wheel holds a file its RECORD does not know.", (
        "trust/test_wheel.py::test_a_wheel_is_refused_with_a_file_that",
    )),
    "B22": Attack("A wheel's file differs from its RECORD.", (
        "trust/test_wheel.py::test_a_wheel_is_refused_when_its_record_is",
    )),
    "B23": Attack("A wheel's RECORD uses a hash that can be forged.", (
        "trust/test_wheel.py::test_a_wheel_is_refused_when_its_record_is",
    )),
    "B24": Attack("A wheel holds one file twice.", ("trust/test_wheel.py::test_a_wheel_is_refused_with_a_file_that",)),
    "B25": Attack("A wheel holds a link.", ("trust/test_wheel.py::test_a_wheel_is_refused_with_a_file_that",)),
    "B26": Attack("A small wheel unpacks to very much.", (
        "trust/test_wheel.py::test_a_bomb_in_a_wheel_is_refused_before_it_unpacks",
    )),
    "C01": Attack("The registry serves other bytes than it announces.", (
        "trust/test_npm.py::test_other_bytes_than_announced_are_refused",
    )),
    "C02": Attack("A version is published again with other bytes.", (
        "test_pinning.py::test_a_version_that_now_has_other_bytes_is_refused",
        "trust/test_continuity.py::test_a_person_is_told_of",
    )),
    "C03": Attack("A package wants a script to run when it is installed.", (
        "trust/test_npm.py::test_install_scripts_are_reported_and_never_run",
    )),
    "C04": Attack("A package wants native code to be built by being there.", (
        "trust/test_npm.py::test_install_scripts_are_reported_and_never_run",
    )),
    "C05": Attack("A package's program lies outside the package.", (
        "trust/test_hostile_npm.py::test_a_downloaded_package_is_not_run_whose_program",
    )),
    "C06": Attack("A package's program is not there.", (
        "trust/test_hostile_npm.py::test_a_downloaded_package_is_not_run_whose_program",
    )),
    "C07": Attack("A package has several programs and none of its own name.", (
        "trust/test_hostile_npm.py::test_a_downloaded_package_is_not_run_whose_program",
    )),
    "C08": Attack("A package's program is a script for a shell.", (
        "trust/test_hostile_npm.py::test_a_downloaded_package_is_not_run_whose_program",
    )),
    "C09": Attack("A tarball calls itself otherwise than the registry does.", (
        "trust/test_hostile_npm.py::test_a_tarball_that_calls_itself_otherwise_is_refused",
    )),
    "C10": Attack("A dependency of a dependency comes from a repository.", (
        "trust/test_hostile_npm.py::test_a_dependency_deep_in_the_tree_is_refused_that_is",
    )),
    "C11": Attack("A dependency of a dependency comes from any address.", (
        "trust/test_hostile_npm.py::test_a_dependency_deep_in_the_tree_is_refused_that_is",
    )),
    "C12": Attack("A dependency of a dependency is a folder of this machine.", (
        "trust/test_hostile_npm.py::test_a_dependency_deep_in_the_tree_is_refused_that_is",
    )),
    "C13": Attack("An update needs packages that were not needed.", (
        "test_pinning.py::test_an_update_tells_of_new_scripts_and_dependencies_and_of_going_back",
        "trust/test_continuity.py::test_a_person_is_told_of",
    )),
    "C14": Attack("A dependency moves on while the server's version stays.", (
        "trust/test_npm.py::test_a_fixed_pin_yields_the_same_tree_and_a_moved_dependency_another",
    )),
    "C15": Attack("The lock is edited: a package without a hash.", (
        "trust/test_hostile_npm.py::test_a_lock_of_the_real_npm_is_refused_that_was_edited_by_hand",
    )),
    "C16": Attack("The lock is edited: a package with a weak hash.", (
        "trust/test_hostile_npm.py::test_a_lock_of_the_real_npm_is_refused_that_was_edited_by_hand",
    )),
    "C17": Attack("The lock is edited: a package from another host.", (
        "trust/test_hostile_npm.py::test_a_lock_of_the_real_npm_is_refused_that_was_edited_by_hand",
    )),
    "C18": Attack("The lock is edited: a package outside the tree.", (
        "trust/test_hostile_npm.py::test_a_lock_of_the_real_npm_is_refused_that_was_edited_by_hand",
    )),
    "C19": Attack("The lock is edited: a link for a package.", (
        "trust/test_hostile_npm.py::test_a_lock_of_the_real_npm_is_refused_that_was_edited_by_hand",
    )),
    "C20": Attack("The folder a server is started in holds a package of its name and version, and a configuration.", (
        "trust/test_hostile_npm.py::test_a_folder_with_a_package_of_the_same_name_and_version_runs_nothing",
    )),
    "C21": Attack("The user's home holds a module that a server looks for in vain.", (
        "trust/test_hostile_npm.py::test_a_module_that_is_not_there_is_not_taken_from_the_users_home",
    )),
    "D01": Attack("An attestation speaks of other bytes.", (
        "trust/test_attestations.py::test_provenance_is_invalid_and_never_missing_with",
    )),
    "D02": Attack("An attestation speaks of another package.", (
        "trust/test_attestations.py::test_provenance_is_invalid_and_never_missing_with",
    )),
    "D03": Attack("An attestation speaks of another version.", (
        "trust/test_attestations.py::test_provenance_is_invalid_and_never_missing_with",
    )),
    "D04": Attack("An attestation is signed under an authority nobody knows.", (
        "trust/test_attestations.py::test_provenance_is_invalid_and_never_missing_with",
    )),
    "D05": Attack("An attestation names another repository than its certificate.", (
        "trust/test_attestations.py::test_provenance_is_invalid_and_never_missing_with",
    )),
    "D06": Attack("A certificate vouches for a login of any service.", (
        "trust/test_attestations.py::test_provenance_is_invalid_and_never_missing_with",
    )),
    "D07": Attack("An attestation is edited after it was signed.", (
        "trust/test_attestations.py::test_provenance_is_invalid_and_never_missing_with",
    )),
    "D08": Attack("An attestation is in no public log.", (
        "trust/test_attestations.py::test_provenance_is_invalid_and_never_missing_with",
    )),
    "D09": Attack("An attestation brings the log entry of another one.", (
        "trust/test_attestations.py::test_provenance_is_invalid_and_never_missing_with",
    )),
    "D10": Attack("The log's own signature is broken.", (
        "trust/test_attestations.py::test_provenance_is_invalid_and_never_missing_with",
    )),
    "D11": Attack("An attestation was logged when its certificate was not valid.", (
        "trust/test_attestations.py::test_provenance_is_invalid_and_never_missing_with",
    )),
    "D12": Attack("Something that is no statement is signed.", (
        "trust/test_attestations.py::test_provenance_is_invalid_and_never_missing_with",
    )),
    "D13": Attack("A registry's signature is for another version, package or bytes.", (
        "trust/test_attestations.py::test_the_registrys_signature_holds_for_its_name_version_and_bytes_only",
    )),
    "D14": Attack("A registry's signature is by a key nobody knows.", (
        "trust/test_attestations.py::test_a_signature_by_an_unknown_key_is_invalid_unless_a_known_one_stands_beside_it",
    )),
    "D15": Attack("A key that was retired signs something new.", (
        "trust/test_attestations.py::test_a_retired_keys_signature_holds_only_with_a_signed_time_before_its_end",
    )),
    "D16": Attack("A forged root of trust lies in the user's cache.", (
        "trust/test_attestations.py::test_a_forged_root_in_the_users_cache_is_ignored",
    )),
    "D17": Attack("Real attestations hold for their bytes, and for no other bytes.", (
        "trust/test_real_attestations.py::test_a_real_npm_package_is_verified_or_its_registry_cannot_say",
        "trust/test_real_attestations.py::test_real_provenance_of_a_python_file_holds_for_its_bytes_and_for_no_others",
    )),
    "E01": Attack("A new version comes.", ("trust/test_continuity.py::test_a_person_is_told_of",)),
    "E02": Attack("A package that was attested no longer is.", ("trust/test_continuity.py::test_a_person_is_told_of",)),
    "E03": Attack("A package that was signed no longer is.", ("trust/test_continuity.py::test_a_person_is_told_of",)),
    "E04": Attack("A package comes from another publisher.", ("trust/test_continuity.py::test_a_person_is_told_of",)),
    "E05": Attack("An owner's name was given up, and somebody else took it.", (
        "trust/test_continuity.py::test_a_person_is_told_of",
    )),
    "E06": Attack("A repository was deleted and made anew under its name.", (
        "trust/test_continuity.py::test_a_person_is_told_of",
    )),
    "E07": Attack("A package is built by another workflow.", ("trust/test_continuity.py::test_a_person_is_told_of",)),
    "E08": Attack("A package is built from a branch, no longer from a tag.", (
        "trust/test_continuity.py::test_a_person_is_told_of",
    )),
    "E09": Attack("A package is built on somebody's own machine.", (
        "trust/test_continuity.py::test_a_person_is_told_of",
    )),
    "E10": Attack("A repository was renamed, which is no attack and only told.", (
        "trust/test_continuity.py::test_a_person_is_told_of",
    )),
    "E11": Attack("Other people may publish the package.", ("trust/test_continuity.py::test_a_person_is_told_of",)),
    "E12": Attack("A release is fresh, whatever the index says of its age.", (
        "trust/test_continuity.py::test_a_person_is_told_of",
    )),
    "E13": Attack("A pinned package becomes known as malware.", (
        "trust/test_advisories.py::test_malware_in_a_closure_refuses_the_start_and_names_package_and_advisory",
    )),
    "E14": Attack("A pinned package becomes known as vulnerable.", (
        "trust/test_advisories.py::test_what_is_known_comes_with_malware_first",
    )),
    "E15": Attack("An update wants to run code where it did not.", (
        "trust/test_continuity.py::test_a_person_is_told_of",
    )),
    "E16": Attack("An older version is offered as the update.", (
        "trust/test_continuity.py::test_a_person_is_told_of",
    )),
    "E17": Attack("An attestation is there and does not hold.", (
        "trust/test_continuity.py::test_a_person_is_told_of",
    )),
    "F01": Attack("Nobody attacks, and a Python server starts from the store.", (
        "trust/test_pypi.py::test_a_closure_is_pinned_whole_starts_from_the_store_and_is_the_same_the_next_time",
    )),
    "F02": Attack("The index serves other bytes than were resolved.", (
        "trust/test_pypi.py::test_other_bytes_than_resolved_are_refused",
    )),
    "F03": Attack("A package can only be had by running its own build.", (
        "trust/test_pypi.py::test_a_package_without_wheels_is_proposed_as_a_build_and_no_code_of_it_runs",
    )),
    "F04": Attack("A package wants code to run at every start of Python.", (
        "trust/test_pypi.py::test_code_that_wants_to_run_at_every_start_does_not_and_is_reported",
    )),
    "F05": Attack("A wheel brings a file of another package.", (
        "trust/test_pypi.py::test_a_resolved_wheel_is_refused_that",
    )),
    "F06": Attack("A wheel calls itself otherwise than the index does.", (
        "trust/test_pypi.py::test_a_resolved_wheel_is_refused_that",
    )),
    "F07": Attack("The name of a program hides code.", (
        "trust/test_pypi.py::test_a_resolved_wheel_is_refused_that",
        "trust/test_pypi.py::test_an_entry_point_that_is_more_than_a_function_of_a_module_is_refused",
    )),
    "F08": Attack("Modules lie in the user's way, in folders and in variables.", (
        "trust/test_pypi.py::test_modules_in_the_users_way_shadow_nothing",
    )),
    "F09": Attack("An attestation speaks of another file.", (
        "trust/test_attestations.py::test_provenance_of_a_python_file_is_invalid_with",
    )),
    "F10": Attack("The index names another publisher than the certificate.", (
        "trust/test_attestations.py::test_provenance_of_a_python_file_is_invalid_with",
    )),
    "F11": Attack("A second index has the same name in a higher version.", (
        "trust/test_pypi.py::test_the_first_index_that_has_a_name_is_the_only_one_that_supplies_it",
    )),
    "G01": Attack("A launch line names a registry that anybody between could answer for.", (
        "trust/test_launchers.py::test_a_launch_line_that_attacks_is_refused",
    )),
    "G02": Attack("A launch line sets options of node.", (
        "trust/test_launchers.py::test_a_launch_line_that_attacks_is_refused",
    )),
    "G03": Attack("A launch line sets npm's registry by a variable.", (
        "trust/test_launchers.py::test_a_launch_line_that_attacks_is_refused",
    )),
    "G04": Attack("A launch line sets uv's index by a variable.", (
        "trust/test_launchers.py::test_a_launch_line_that_attacks_is_refused",
    )),
    "G05": Attack("A launch line loads a library into every program.", (
        "trust/test_launchers.py::test_a_launch_line_that_attacks_is_refused",
    )),
    "G06": Attack("A launch line downloads something and runs it.", (
        "trust/test_launchers.py::test_a_launch_line_that_attacks_is_refused",
    )),
    "G07": Attack("A launch line has an option nobody knows.", (
        "trust/test_launchers.py::test_a_launch_line_that_attacks_is_refused",
    )),
    "G08": Attack("A launch line hands over the container engine.", (
        "trust/test_launchers.py::test_a_launch_line_that_attacks_is_refused",
    )),
    "G09": Attack("A container is named by a tag, which can mean another one tomorrow.", (
        "trust/test_launchers.py::test_g09_a_container_tag_is_known_to_float",
    )),
    "G10": Attack("A commit is named by a few digits, or an option stands where a repository's address has a name.", (
        "trust/test_git.py::test_a_short_commit_is_no_pin",
        "trust/test_launchers.py::test_a_launch_line_that_attacks_is_refused",
    )),
    "G11": Attack("A program is named without its place.", (
        "trust/test_launchers.py::test_g11_a_bare_command_says_that_it_is_looked_up",
    )),
    "G12": Attack("An option takes the place of a package's name.", (
        "trust/test_launchers.py::test_a_launch_line_that_attacks_is_refused",
    )),
    "H01": Attack("Code is swapped after it was hashed and before it runs.", (
        "test_race.py::test_code_that_is_swapped_between_its_hash_and_its_start_ends_the_server",
    )),
    "H02": Attack("The store is tidied while somebody takes something in.", (
        "trust/test_garbage.py::test_two_processes_that_take_in_the_same_bytes_and_a_third_that_tidies_do_not_hurt_each_other",
        "trust/test_garbage.py::test_while_somebody_takes_in_nothing_is_collected",
    )),
    "H03": Attack("The disk is full at any step of taking something in.", (
        "trust/test_store.py::test_a_full_disk_is_said_and_leaves_nothing_half_made",
    )),
    "H04": Attack("Two brokers use one store.", (
        "trust/test_garbage.py::test_two_processes_that_take_in_the_same_bytes_and_a_third_that_tidies_do_not_hurt_each_other",
    )),
    "H05": Attack("The clock is set back.", (
        "trust/test_continuity.py::test_a_clock_that_was_set_back_makes_no_release_old",
        "trust/test_garbage.py::test_what_was_taken_in_lately_is_spared_because_somebody_may_still_agree_to_it",
    )),
    "H06": Attack("A registry tells npm one thing and everybody else another.", (
        "trust/test_hostile_npm.py::test_a_registry_that_tells_npm_one_thing_and_everybody_else_another_is_refused",
    )),
    "H07": Attack("A package brings a link for a dependency of its own.", (
        "trust/test_hostile_npm.py::test_a_package_is_refused_that_brings_a_link_for_a_dependency",
    )),
    "H08": Attack("An attestation is of the first kind, which nobody can check offline.", (
        "trust/test_attestations.py::test_an_old_bundle_that_nobody_can_check_offline_says_nothing",
    )),
    "H09": Attack("A repository lies: a moved tag, a submodule, a link, other bytes, another transport.", (
        "trust/test_git.py::test_a_link_out_of_the_commit_is_refused",
        "trust/test_git.py::test_a_moved_tag_changes_nothing_until_the_pin_is_updated_and_then_both_commits_are_shown",
        "trust/test_git.py::test_a_submodule_is_refused_by_name",
        "trust/test_git.py::test_bytes_that_git_changed_while_packing_are_told_from_the_commit",
        "trust/test_git.py::test_git_speaks_nothing_but_https_and_obeys_no_configuration_of_the_user",
        "trust/test_git_signatures.py::test_a_commit_that_was_changed_after_it_was_signed_is_refused",
        "trust/test_git_signatures.py::test_a_signed_commit_names_its_key_and_another_key_or_none_is_told",
        "trust/test_openpgp_signatures.py::test_a_commit_signed_by_a_key_of_the_users_ring_names_it_and_any_other_is_told_as_unchecked",
    )),
    "H10": Attack("Roots of trust are held back, so that nobody learns of new ones.", (
        "trust/test_proofs.py::test_roots_that_nobody_renewed_go_on_and_say_so_after_ninety_days",
    )),
    "H11": Attack("A registry of images lies, bends an archive, or forges a statement.", (
        "trust/test_oci.py::test_a_hostile_archive_is_refused_naming_image_layer_and_member",
        "trust/test_oci.py::test_a_registry_that_lies_gets_nothing_into_the_store",
        "trust/test_oci.py::test_a_statement_that_does_not_hold_refuses_the_image",
    )),
    "H12": Attack("A registry stalls, cuts short, or leads elsewhere.", (
        "test_bad_index.py::test_an_index_that_leads_to_another_one_does_not_supply_its_packages",
        "test_bad_index.py::test_an_index_that_never_answers_is_given_up",
        "test_bad_index.py::test_an_update_is_refused_and_the_old_pin_keeps_running_when_an_index",
        "test_bad_input.py::test_a_registry_that_leads_to_another_one_does_not_supply_its_packages",
        "test_bad_input.py::test_an_update_is_refused_and_the_old_pin_keeps_running_when_a_registry",
    )),
    "H13": Attack("A lock or a pin is edited by hand, or comes from a program of tomorrow.", (
        "test_bad_input.py::test_a_pin_file_from_the_future_changes_nothing_and_is_refused",
        "trust/test_projects.py::test_a_uv_lock_that_was_edited_by_hand_is_refused_and_named",
    )),
    "H14": Attack("A dependency was built by somebody else, or its attestation does not hold.", (
        "test_pinning.py::test_an_update_in_which_a_dependency_comes_from_somebody_else_or_lost_its_attestation_is_refused",
        "trust/test_evidence.py::test_an_attestation_of_a_dependency_that_is_wrong_refuses_the_closure",
        "trust/test_evidence.py::test_every_wheel_of_a_closure_is_asked_for_its_publisher",
    )),
    "H15": Attack("Native code lies where a server is started, in its user's home, or where a variable points.", (
        "trust/test_pypi.py::test_native_code_in_the_users_way_is_not_loaded",
    )),
})  # fmt: skip
