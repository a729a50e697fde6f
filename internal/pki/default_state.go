package pki

import (
	"os"
	"path/filepath"
)

// DefaultState is the state directory where none is named: $CBD_STATE, else /var/lib/clusterbackup for root and
// $XDG_STATE_HOME/clusterbackup (~/.local/state/clusterbackup) for others.
func DefaultState() string {
	switch {
	case os.Getenv("CBD_STATE") != "":
		return os.Getenv("CBD_STATE")
	case os.Geteuid() == 0:
		return "/var/lib/clusterbackup"
	case os.Getenv("XDG_STATE_HOME") != "":
		return filepath.Join(os.Getenv("XDG_STATE_HOME"), "clusterbackup")
	}
	return filepath.Join(os.Getenv("HOME"), ".local", "state", "clusterbackup")
}
