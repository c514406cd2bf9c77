"""`python -m bert_textclassification`: the command line without its console script."""

import sys

from bert_textclassification.cli import main

if __name__ == "__main__":
    sys.exit(main())
