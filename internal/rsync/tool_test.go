package rsync

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindTellsToolsApart(t *testing.T) {
	dir := t.TempDir()
	script := func(name, says string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\ncat <<E\n"+says+"\nE\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old := script("old", "rsync  version 2.6.9  protocol version 29\nCopyright")
	open := script("open", "openrsync: protocol version 29\nrsync version 2.6.9 compatible")
	good := script("good", "rsync  version v3.1.0-dev  protocol version 31")
	fine := script("fine", "rsync  version 3.4.1  protocol version 32")
	for _, c := range []struct {
		candidates []string
		path       string
		err        error
	}{
		{nil, "", ErrMissing},
		{[]string{dir + "/none"}, "", ErrMissing},
		{[]string{old, dir + "/none"}, "", ErrTooOld},
		{[]string{open}, "", ErrTooOld},
		{[]string{open, old, good, fine}, good, nil},
		{[]string{fine, good}, fine, nil},
	} {
		got, err := find(t.Context(), c.candidates)
		if !errors.Is(err, c.err) || got.Path != c.path {
			t.Errorf("of %q found %v, %v", c.candidates, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "install rsync") {
			t.Errorf("no way out in %q", err)
		}
	}
	got, err := find(t.Context(), []string{fine})
	if err != nil || got.Major != 3 || got.Minor != 4 || got.Patch != 1 || !got.AtLeast(3, 4, 1) || got.AtLeast(3, 4, 2) || got.AtLeast(3, 5, 0) || got.AtLeast(4, 0, 0) {
		t.Errorf("%+v, %v", got, err)
	}
}
