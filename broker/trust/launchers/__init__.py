"""One launcher each: how npx, uvx and plain programs read their words.  Pure."""
