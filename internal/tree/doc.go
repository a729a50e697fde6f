// Package tree reads a source: what lies in it, what changed, what its bytes are.
//
// A Tree is a folder on this host's disk. Walk lists all of it, folder by folder, on several workers and in memory that
// does not grow with the number of files; Stat looks at one path; Digest reads one file. The tree is only ever read.
//
// What it promises:
//
//   - Names are the bytes the file system gave: not UTF-8, newlines, 255 bytes and paths longer than PATH_MAX included.
//   - Nothing outside the root is reached: every folder is opened relative to the one above it, and no symbolic link is
//     followed, neither as the last component nor on the way, also when somebody swaps a folder for a link meanwhile.
//   - "Could not look" is never told as "is not there". A listing that is not complete says so in Folder.Err; a root that
//     has gone, or in whose place another folder now is, is an error of the whole call (ErrRootMissing, ErrRootChanged), so
//     that a missing disk is not taken for an empty one.
//   - One unreadable file or folder does not keep the others from being seen.
package tree
