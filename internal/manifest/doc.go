// Package manifest is the listing of a source that every holder keeps beside its replicas: every file, folder and link with
// owner, mode, times, extended attributes and digest, so that a tree can be put together again from any holder, with the
// source's host gone, by this software or by hand.
//
// The format is JSON, one object a line, compressed with zstd ("zstdcat photos.jsonl.zst | jq" reads it): first a header,
// then the entries, a folder before what is in it, and last a line with their number, by which a file cut short is noticed.
// Paths are bytes: one that is not UTF-8 is given in base64 under another key. Unknown keys are ignored; a format number
// that is greater than Format is refused.
package manifest
