"""What stands behind `./dev`: standard library only, except where a module says so."""
