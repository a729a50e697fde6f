package rsync

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrModuleName: a module's name is a word of letters, digits, "-", "_" and ".".
var ErrModuleName = errors.New("not a module name")

var moduleName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// refused are the options by which a peer could make a sender follow links, leave the module or work without need.
var refused = []string{"copy-links", "copy-unsafe-links", "copy-dirlinks", "keep-dirlinks", "compress", "delete", "remove-source-files",
	"write-devices", "copy-devices", "devices", "specials", "iconv", "checksum", "append", "append-verify"}

func configPath(scratch string) string { return filepath.Join(scratch, "rsyncd.conf") }

// configure makes a folder with the configuration and a link to the root: paths of any bytes can be linked to, but not all
// can be written in the configuration. The caller removes it.
func (m Module) configure() (scratch string, err error) {
	if m.Name == "" {
		m.Name = DefaultModule
	}
	if !moduleName.MatchString(m.Name) || m.Name == "global" {
		return "", fmt.Errorf("%q: %w", m.Name, ErrModuleName)
	}
	if !filepath.IsAbs(m.Root) {
		return "", fmt.Errorf("%q: %w", m.Root, ErrNotAbsolute)
	}
	if scratch, err = m.configureIn(m.Scratch); err != nil && m.Scratch != "" {
		// Where there is no room for it, files can be read from here all the same.
		if other, otherErr := m.configureIn(""); otherErr == nil {
			return other, nil
		}
	}
	return scratch, err
}

func (m Module) configureIn(parent string) (scratch string, err error) {
	if scratch, err = os.MkdirTemp(parent, "clusterbackup-rsync-"); err != nil {
		return "", err
	}
	link := filepath.Join(scratch, "root")
	err = os.Symlink(m.Root, link)
	if err == nil {
		err = os.WriteFile(configPath(scratch), []byte(m.config(link)), 0o600)
	}
	if err != nil {
		os.RemoveAll(scratch)
		return "", err
	}
	return scratch, nil
}

// config is rsyncd.conf(5). The identity is named since rsync would else become "nobody" when root runs it.
func (m Module) config(root string) string {
	lines := []string{
		"log file = /dev/null",
		"[" + m.Name + "]",
		"path = " + root,
		"read only = yes",
		"list = no",
		"numeric ids = yes",
		"reverse lookup = no",
		"munge symlinks = no",
		"transfer logging = no",
		"max verbosity = 0",
		"timeout = 600",
		"refuse options = " + strings.Join(refused, " "),
	}
	if mayChroot() {
		lines = append(lines, "use chroot = yes")
	} else {
		lines = append(lines, "use chroot = no")
	}
	if os.Geteuid() == 0 {
		lines = append(lines, "uid = 0", "gid = 0")
	}
	return strings.Join(lines, "\n") + "\n"
}
