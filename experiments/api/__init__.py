"""The experiments' part of the REST API. One file for each kind of object."""
