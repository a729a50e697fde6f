package rsync

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "clusterbackup/api/v1"
)

// DefaultModule is the module's name where none is given. One connection serves one folder, so the name tells nobody anything.
const DefaultModule = "data"

// Pull is one batch of files to fetch from one folder of one peer.
type Pull struct {
	Tool  Tool
	Shell []string // argv of the remote shell; rsync appends the host and a command, which the shell ignores
	Host  string
	// Module is the served folder's name in rsync's protocol; "" is DefaultModule. It is the one ServeModule was given.
	Module string
	// Subdir is where below the served folder the files are looked for; "" is the folder itself.
	Subdir string
	// Files are below Subdir, and arrive under the same paths below Dest. Only regular files do.
	Files []v1.RelPath
	// Dest is an existing folder, absolute, that nobody reads while Run writes. Unfinished files are left there when Run is
	// ended; the next Run goes on with them.
	Dest string
	// CopyDest are folders, absolute, at most 20, where older versions may lie under the same paths: what they have in common
	// with the new version does not travel.
	CopyDest       []string
	BandwidthLimit int64 // bytes per second; 0: none
	// Meter, when given, is told of bytes as they come over the wire, some at a time, and returns when more may come. An error ends
	// the transfer with ask.ErrBroken.
	Meter    func(ctx context.Context, bytes int) error
	MaxSize  int64         // files that are larger by now are left out, in bytes; 0: none
	MaxBytes int64         // about how many bytes may come in all, see ErrTooLarge; 0: any number
	Timeout  time.Duration // ends a transfer in which nothing moves; 0: 5 minutes
	Owner    bool          // keep numeric owner and group, where this process may
	Xattrs   bool          // keep extended attributes, where this process and the file systems may
}

// maxPath is how long a path rsync handles whole: it cuts longer ones short.
const maxPath = 4000

// Errors of Pull's fields.
var (
	ErrNotAbsolute = errors.New("path is not absolute")
	ErrNoShell     = errors.New("no remote shell")
)

// Run fetches the files. nil: look at Dest for what arrived; Stats.Partial says that some did not. A file that arrived has
// its modification time and mode; one that did not is absent, or unfinished with another modification time or size.
// ask.ErrDenied, ask.ErrUnavailable, ErrUnreachable, ask.ErrBroken, ErrWrite, ErrTooLarge, ErrFailed: even then some files may be whole.
// When ctx ends, so does every process that Run started.
func (p Pull) Run(ctx context.Context) (Stats, error) {
	var stats Stats
	if err := p.check(); err != nil {
		return stats, fmt.Errorf("pull from %s: %w", p.Host, err)
	}
	began := time.Now()
	runs := maxRuns
	err := p.part(ctx, p.inOrder(&stats), &stats, &runs)
	stats.Duration = time.Since(began)
	if err != nil {
		return stats, fmt.Errorf("pull from %s: %w", p.Host, err)
	}
	return stats, nil
}

// maxRuns is how often rsync is started for one Run: enough to find some files among a thousand that it stumbles over.
const maxRuns = 48

// part fetches some of the files. Where rsync gives up for no reason that concerns all of them, a single name may be to blame: halves
// are tried, so that no file keeps others from arriving for ever.
func (p Pull) part(ctx context.Context, files []v1.RelPath, stats *Stats, runs *int) error {
	if len(files) == 0 {
		return nil
	}
	*runs--
	err := p.once(ctx, files, stats)
	if !errors.Is(err, ErrFailed) || len(files) == 1 || *runs <= 0 {
		return err
	}
	middle := len(files) / 2
	first := p.part(ctx, files[:middle], stats, runs)
	if first != nil && !errors.Is(first, ErrFailed) {
		return first
	}
	second := p.part(ctx, files[middle:], stats, runs)
	if (first == nil) == (second == nil) || second != nil && !errors.Is(second, ErrFailed) {
		return second
	}
	stats.Partial = true
	stats.Messages = append(stats.Messages, cmp.Or(first, second).Error())
	return nil
}

// once starts rsync once.
func (p Pull) once(ctx context.Context, files []v1.RelPath, stats *Stats) error {
	var one Stats
	waited, shell := p.run(ctx, files, &one)
	err := judge(ctx, waited, shell, &one)
	stats.add(&one)
	return err
}

// run runs rsync and returns what it, and what the remote shell, said at the end.
func (p Pull) run(ctx context.Context, files []v1.RelPath, stats *Stats) (waited, shell error) {
	hear, tell, err := os.Pipe()
	if err != nil {
		return err, nil
	}
	ours := []*os.File{tell}
	if p.Meter != nil {
		ctx, cancel := context.WithCancel(ctx)
		m, err := startMeter(ctx, p.Meter)
		if err != nil {
			cancel()
			hear.Close()
			tell.Close()
			return err, nil
		}
		defer m.stop(cancel)
		ours = append(ours, m.childs...)
	}
	out, errs := &head{limit: 16 << 10}, &head{limit: 64 << 10}
	waited = runHere(func() error {
		defer tell.Close()
		cmd := exec.CommandContext(ctx, p.Tool.Path, p.args()...)
		prepare(cmd)
		cmd.Dir = "/"
		cmd.Env = append(cmd.Env, verdictVariable+"="+strconv.Itoa(verdictFD))
		if p.MaxBytes > 0 {
			cmd.Env = append(cmd.Env, limitVariable+"="+strconv.FormatInt(p.wireLimit(files), 10))
		}
		if p.Meter != nil {
			cmd.Env = append(cmd.Env, meterVariable+"=1")
		}
		cmd.ExtraFiles = ours
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(p.list(files)), out, errs
		return cmd.Run()
	})
	stats.read(out.lines())
	stats.Messages = errs.lines()
	return waited, readVerdict(hear)
}

func (p Pull) check() error {
	if len(p.Shell) == 0 {
		return ErrNoShell
	}
	if _, err := exec.LookPath(p.Shell[0]); err != nil {
		return fmt.Errorf("%w: %w", ErrNoShell, err)
	}
	for _, dir := range append([]string{p.Dest}, p.CopyDest...) {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("%q: %w", dir, ErrNotAbsolute)
		}
	}
	return nil
}

// inOrder is the files that rsync can be asked for. Folder by folder, since rsync sends a folder again for each time that the list
// comes back to it, and takes several times as long.
func (p Pull) inOrder(stats *Stats) []v1.RelPath {
	files := slices.DeleteFunc(slices.Clone(p.Files), func(file v1.RelPath) bool {
		tooLong := len(p.prefix())+len(file) > maxPath || len(p.Dest)+len(file) > maxPath
		if tooLong {
			stats.Partial = true
			stats.Messages = append(stats.Messages, fmt.Sprintf("path of %d bytes is too long for rsync: %.60q…", len(file), file))
		}
		return tooLong
	})
	slices.SortFunc(files, func(a, b v1.RelPath) int {
		return cmp.Or(strings.Compare(a.Dir(), b.Dir()), strings.Compare(a.Base(), b.Base()))
	})
	return files
}

// prefix: each name begins with "./" or the subfolder, so that none is taken for a comment or an option; "/./" marks where the
// path that is kept begins.
func (p Pull) prefix() string {
	if p.Subdir == "" {
		return "./"
	}
	return "./" + strings.Trim(p.Subdir, "/") + "/./"
}

// list is what --files-from reads.
func (p Pull) list(files []v1.RelPath) (list []byte) {
	for _, file := range files {
		list = append(list, p.prefix()...)
		list = append(list, file...)
		list = append(list, 0)
	}
	return list
}

// args: --inplace since nobody reads Dest and a killed copy goes on from what is there; --no-implied-dirs so that folders
// are plain ones of ours, whatever their modes at the source.
func (p Pull) args() []string {
	timeout := p.Timeout
	if timeout <= 0 {
		timeout = 5 * time.Minute
	}
	args := []string{"--rsh=" + quote(p.Shell), "--files-from=-", "--from0", "--no-implied-dirs", "--inplace", "--perms", "--times",
		"--no-motd", "--stats", "--no-human-readable", "--timeout=" + strconv.Itoa(int((timeout+time.Second-1)/time.Second))}
	if p.Tool.AtLeast(3, 2, 5) {
		// It would hold each name that the sender lists against each that we asked for: with thousands of them more work than the
		// copying. What we did not ask for stays in Dest, where nobody takes it from.
		args = append(args, "--trust-sender")
	}
	root := os.Geteuid() == 0
	if !root {
		args = append(args, "--chmod=Fu+r") // or its holder could not read it back
	}
	if p.Owner && root {
		args = append(args, "--owner", "--group", "--numeric-ids")
	}
	if p.Xattrs {
		args = append(args, "--xattrs")
	}
	if p.BandwidthLimit > 0 {
		args = append(args, "--bwlimit="+strconv.FormatInt(max(1, p.BandwidthLimit>>10), 10))
	}
	if p.MaxSize > 0 {
		args = append(args, "--max-size="+strconv.FormatInt(p.MaxSize, 10))
	}
	args = append(args, p.basis()...)
	return append(args, "--", p.Host+"::"+p.module()+"/", strings.TrimRight(p.Dest, "/")+"/")
}

// basis: where there is nothing to compare with, comparing is not even begun. A version that has its predecessor's size and
// time is compared nevertheless (--ignore-times).
func (p Pull) basis() []string {
	if len(p.CopyDest) == 0 && emptyFolder(p.Dest) {
		return []string{"--whole-file"}
	}
	args := []string{"--no-whole-file"}
	if len(p.CopyDest) > 0 {
		args = append(args, "--ignore-times")
	}
	for _, dir := range p.CopyDest {
		args = append(args, "--copy-dest="+dir)
	}
	return args
}

func emptyFolder(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	names, _ := f.Readdirnames(1)
	return len(names) == 0
}

func (p Pull) module() string {
	if p.Module == "" {
		return DefaultModule
	}
	return p.Module
}

// quote writes an argv the way rsync takes --rsh apart: blanks separate, quotes protect, a doubled quote is one.
func quote(argv []string) string {
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		quoted[i] = "'" + strings.ReplaceAll(arg, "'", "''") + "'"
	}
	return strings.Join(quoted, " ")
}
