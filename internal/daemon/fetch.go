package daemon

import (
	"context"
	"os"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/ask"
	"clusterbackup/internal/beneath"
	"clusterbackup/internal/coordinator"
	"clusterbackup/internal/rsync"
	"clusterbackup/internal/stream"
)

// origin is where files come from: a folder that another host serves, and where below it they lie.
type origin struct {
	host    v1.HostName
	request ask.Request
	subdir  string
}

func originOf(c controllers.Client, f controllers.Fetch) origin {
	if f.Origin != nil {
		return origin{f.Origin.Host, ask.Request{Kind: ask.KindLocation, Name: string(f.Origin.Location)}, string(c.Source)}
	}
	return origin{c.Coordinator, ask.Request{Kind: ask.KindSource, Name: string(c.Source)}, ""}
}

// fetch brings files of a source here: whole where there is nothing of them yet, by rsync where there is, since it brings only what
// differs.
func (l *loops) fetch(ctx context.Context, c controllers.Client, f controllers.Fetch) error {
	dest, err := beneath.OpenFolder(f.Dest)
	if err != nil {
		return err
	}
	defer dest.Close()
	left, err := dest.Names()
	if err != nil {
		return err
	}
	var whole, begun []coordinator.Claimed
	for _, file := range f.Files {
		if file.Held || len(left) > 0 {
			begun = append(begun, file)
		} else {
			whole = append(whole, file)
		}
	}
	from := originOf(c, f)
	if len(whole) > 0 {
		if err := l.fetchWhole(ctx, from, f, whole, dest); err != nil {
			return err
		}
	}
	if len(begun) > 0 {
		return l.fetchRest(ctx, from, f, begun)
	}
	return nil
}

func (l *loops) fetchWhole(ctx context.Context, from origin, f controllers.Fetch, files []coordinator.Claimed, dest beneath.Folder) error {
	conn, err := l.host.peers.dial(ctx, from.host, alpnFiles)
	if err != nil {
		return err
	}
	if err := ask.Ask(ctx, conn, from.request, askTimeout); err != nil {
		return err
	}
	fetch := stream.Fetch{Subdir: from.subdir, Dest: dest, Owner: os.Geteuid() == 0, Meter: l.meter(f), Refused: f.Refused}
	for _, file := range files {
		fetch.Files = append(fetch.Files, stream.File{Path: file.Path, Size: file.Size})
	}
	return fetch.Run(ctx, conn)
}

// fetchRest has rsync bring what is not there yet of files, through this program as its remote shell.
func (l *loops) fetchRest(ctx context.Context, from origin, f controllers.Fetch, files []coordinator.Claimed) error {
	program, err := os.Executable()
	if err != nil {
		program = "cbd"
	}
	p := rsync.Pull{Tool: l.host.tool, Host: string(from.host), Subdir: from.subdir, Owner: os.Geteuid() == 0,
		Dest: f.Dest, MaxSize: f.MaxSize, MaxBytes: f.MaxBytes, Meter: l.meter(f),
		Shell: []string{program, "--state", l.host.options.State, "rsh", "--host", string(from.host), "--address", l.host.addressOf(from.host),
			"--kind", from.request.Kind, "--name", from.request.Name}}
	for _, file := range files {
		p.Files = append(p.Files, file.Path)
		if file.Held {
			p.CopyDest = []string{f.Earlier}
		}
	}
	_, err = p.Run(ctx)
	return err
}

// meter counts what comes and holds it to this host's limit.
func (l *loops) meter(f controllers.Fetch) func(context.Context, int) error {
	return func(ctx context.Context, bytes int) error {
		f.Received(bytes)
		return l.download(ctx, bytes)
	}
}
