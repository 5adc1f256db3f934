"""`python -m safechain_ray`."""

from safechain_ray.cli import main

if __name__ == "__main__":
    main()
