// Package restore puts a source, or a part of it, back into a folder from whichever holders are live, the source's host not among
// them if need be.
//
// The newest listing (manifest) among the holders says what there was; what each of them holds says where to get it. Files that are
// newer than the listing come as well, files of which only an earlier version is left come as that, and it is said; files of which
// nothing is left are named. Every file is compared with its digest before it gets its name: one that differs is fetched from the
// next holder, and if none has it right it is not written.
//
// Nothing is written outside the target folder, and no symbolic link in it is followed. Memory does not grow with the number of
// files: the plan is a table in a temporary file.
package restore
