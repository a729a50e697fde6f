// Package cli is cbctl: one command a file, over an admin.Backend.
//
// It reads arguments, asks a daemon, and prints. It decides nothing about backups: whatever it shows or changes it gets from, or
// gives to, the daemon that answers, and any host's will do. What it prints to standard output is meant for scripts as well as for
// people; errors and hints go to standard error; exit codes are those of exit.go and never change their meaning.
package cli
