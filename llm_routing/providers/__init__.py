"""One small class per kind of server: types in, types out, no database and no settings."""
