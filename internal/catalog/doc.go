// Package catalog keeps what a coordinator knows of one source: every file, folder and link with what a stat said of it,
// which hosts hold which version of each file, and indexes and counts over that.
//
// What it promises:
//
//   - Everything is in one bbolt file and durable when a call returns. A file that is damaged is not opened and not touched.
//   - Memory does not grow with the number of files. What is counted is counted as it goes; asking costs nothing.
//   - A scan that finds nothing changed writes nothing.
//   - A file is taken for deleted only from a clean, complete listing of its folder in what is provably the same tree, and
//     not when much is gone at once (S4 in docs/design): then the deletions are held until they are approved. From another
//     tree nothing is taken at all until then.
//
// Names are bytes. Files are grouped into classes: all files that are held, confirmed and current, by the same holders (and
// stale by the same). Whether a holder is alive, or two of them share a failure domain, is not the catalog's to know: the
// coordinator judges classes, of which there are few, not files. So a host that dies or returns costs no write.
package catalog
