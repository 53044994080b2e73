"""`python -m convc` is the convc command."""

import sys

from convc.cli.main import main

sys.exit(main())
