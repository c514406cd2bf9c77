"""`python -m bert_textclassification`: the command line, where its script is not on the path."""

import sys

from bert_textclassification.cli import main

if __name__ == "__main__":
    sys.exit(main())
