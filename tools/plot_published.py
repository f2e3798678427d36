"""Plot what was published on COCO: mAP over multiply-adds, of the papers and of others."""

import argparse
import sys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="FILE.png", help="draw the figure into this file")
    parser.add_argument(
        "--markdown", action="store_true", help="print the table behind it, with all sources"
    )
    args = parser.parse_args()
    if not args.out and not args.markdown:
        parser.error("--out or --markdown is needed")

    from shufflenet_det.experiments import PUBLISHED, markdown_table, plot_published

    if args.markdown:
        print(markdown_table(PUBLISHED))
    if args.out:
        try:
            plot_published(args.out)
        except (OSError, ValueError) as error:
            sys.exit(f"plot_published.py: error: {error}")


if __name__ == "__main__":
    main()
