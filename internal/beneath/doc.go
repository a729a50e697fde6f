// Package beneath is how files are reached below an open folder: step by step from descriptor to descriptor, no symbolic link is ever
// followed, so that nothing planted there can lead out of it, or from one part of it to another. (os.Root keeps a path inside its root
// too, but follows the links there, and goes down from the root for every call.)
package beneath
