package daemon

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "clusterbackup/api/v1"
	"clusterbackup/controllers"
	"clusterbackup/internal/admin"
	"clusterbackup/internal/catalog"
	"clusterbackup/internal/coordinator"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Files implements admin.Files.
func (b *backend) Files(ctx context.Context, query admin.FileQuery) iter.Seq2[admin.FilePage, error] {
	return admin.Pages(b.files(ctx, query), query.Limit)
}

// files streams the files of the sources that query chooses, by source name, each from the host that knows.
func (b *backend) files(ctx context.Context, query admin.FileQuery) iter.Seq2[v1.File, error] {
	return func(yield func(v1.File, error) bool) {
		afterSource, _, err := admin.ParseContinue(query.Continue)
		if err != nil {
			yield(v1.File{}, err)
			return
		}
		sources, err := b.sourcesOf(query.Source)
		if err != nil {
			yield(v1.File{}, err)
			return
		}
		for _, source := range sources {
			if afterSource != "" && source.Name < string(afterSource) {
				continue
			}
			q := query
			q.Source = v1.SourceName(source.Name)
			if source.Name != string(afterSource) {
				q.Continue = ""
			}
			for file, err := range b.filesOf(ctx, source, q) {
				if !yield(file, err) || err != nil {
					return
				}
			}
		}
	}
}

// sourcesOf is one source, or all of them by name.
func (b *backend) sourcesOf(name v1.SourceName) ([]*v1.Source, error) {
	all := b.desired.Sources()
	if name == "" {
		return all, nil
	}
	for _, s := range all {
		if s.Name == string(name) {
			return []*v1.Source{s}, nil
		}
	}
	return nil, notFound(v1.KindSource, string(name))
}

func (b *backend) filesOf(ctx context.Context, source *v1.Source, query admin.FileQuery) iter.Seq2[v1.File, error] {
	at, set := source.Spec.Host, b.sources
	if by := b.actsFor(query.Source); query.Acting { // whoever asks says that it is this host
		at, set = b.identity.Host(), b.acting
	} else if by != "" {
		at, set, query.Acting = by, b.acting, true
	}
	if at != b.identity.Host() {
		return b.filesAt(ctx, source, at, query)
	}
	return func(yield func(v1.File, error) bool) {
		running, done := set.Use(query.Source)
		defer done()
		if running == nil {
			yield(v1.File{}, admin.Errorf(admin.Unavailable, "source/"+source.Name, "it is not open yet on its host %s", source.Spec.Host))
			return
		}
		for file, err := range filesFrom(ctx, running, query) {
			if !yield(file, err) || err != nil {
				return
			}
		}
	}
}

// filesAt asks the source's host, or the one that acts for it, page by page.
func (b *backend) filesAt(ctx context.Context, source *v1.Source, at v1.HostName, query admin.FileQuery) iter.Seq2[v1.File, error] {
	query.Limit = 0
	return func(yield func(v1.File, error) bool) {
		for page, err := range b.at(at).Files(ctx, query) {
			if err != nil {
				yield(v1.File{}, b.hostDown(source, err))
				return
			}
			for _, file := range page.Files {
				if !yield(file, nil) {
					return
				}
			}
		}
	}
}

// hostDown says that it is the source's host that cannot be asked, where that is so.
func (b *backend) hostDown(source *v1.Source, err error) error {
	var told *admin.Error
	if errors.As(err, &told) && told.Reason != admin.Failed && told.Reason != admin.Unavailable {
		return err
	}
	return admin.Errorf(admin.Unavailable, "source/"+source.Name, "its host %s does not answer: %v", source.Spec.Host, err).
		WithHint("`cbctl restore %s --to DIR` works without it", source.Name)
}

// File implements admin.Files.
func (b *backend) File(ctx context.Context, name v1.SourceName, path v1.RelPath) (*v1.File, error) {
	sources, err := b.sourcesOf(name)
	if err != nil {
		return nil, err
	}
	file, err := b.fileOf(ctx, sources[0], path)
	if err != nil && !b.knowsNot(name, err) {
		return nil, err
	}
	versions, latest := b.versionsOf(ctx, name, path)
	if err != nil {
		if latest == nil {
			return nil, err
		}
		file = deletedFile(name, latest)
	}
	file.Status.Versions = versions
	return file, nil
}

// knowsNot tells whether it is this host that says that there is no such file, and has scanned the source: its catalog may have been lost
// since the file was deleted, and with it what was known of that.
func (b *backend) knowsNot(name v1.SourceName, err error) bool {
	var told *admin.Error
	if !errors.As(err, &told) || told.Reason != admin.NotFound {
		return false
	}
	running, done := b.sources.Use(name)
	defer done()
	return running != nil && running.Catalog.Current()
}

// deletedFile is what the holders' latest version tells of a file.
func deletedFile(source v1.SourceName, latest *admin.Holding) *v1.File {
	f := v1.NewFile(source, latest.Path, latest.Size, latest.ModTime, latest.Mode, latest.Digest)
	at := metav1.NewTime(time.Unix(0, latest.Until).UTC())
	f.Status = v1.FileStatus{Service: v1.Deleted, DeletedTime: &at}
	return &f
}

func (b *backend) fileOf(ctx context.Context, source *v1.Source, path v1.RelPath) (*v1.File, error) {
	name := v1.SourceName(source.Name)
	if b.actsFor(name) != "" {
		for file, err := range b.filesOf(ctx, source, admin.FileQuery{Source: name, Path: path}) {
			if err != nil || v1.RelPath(file.Spec.Path) == path || v1.RelPath(file.Spec.PathBase64) == path {
				return &file, err
			}
			break
		}
		return nil, noFile(name, path)
	}
	if source.Spec.Host != b.identity.Host() {
		file, err := b.at(source.Spec.Host).File(ctx, name, path)
		if err != nil {
			return nil, b.hostDown(source, err)
		}
		return file, nil
	}
	running, done := b.sources.Use(name)
	defer done()
	if running == nil {
		return nil, admin.Errorf(admin.Unavailable, "source/"+source.Name, "it is not open yet on its host %s", source.Spec.Host)
	}
	file, err := running.Coordinator.File(ctx, path)
	if errors.Is(err, coordinator.ErrNoFile) {
		return nil, noFile(name, path)
	}
	return &file, err
}

func noFile(source v1.SourceName, path v1.RelPath) error {
	return admin.Errorf(admin.NotFound, fmt.Sprintf("file/%s/%s", source, path), "source %s has no such file", source)
}

// versionsOf asks every holder that answers for the earlier versions of one file. latest is the one that was current last; nil: none is.
func (b *backend) versionsOf(ctx context.Context, source v1.SourceName, path v1.RelPath) (versions []v1.VersionStatus, latest *admin.Holding) {
	holders, err := b.Holders(ctx, source)
	if err != nil {
		return nil, nil
	}
	for _, holder := range holders {
		if !holder.Live {
			continue
		}
		for h, err := range b.Holdings(ctx, source, holder.HolderKey, path) {
			if err != nil {
				break
			}
			if h.Path != path || h.Version == "" {
				continue
			}
			versions = append(versions, versionStatus(source, holder.HolderKey, h))
			if latest == nil || h.Until > latest.Until {
				latest = &h
			}
		}
	}
	slices.SortFunc(versions, func(a, b v1.VersionStatus) int { return strings.Compare(a.Name, b.Name) })
	return versions, latest
}

func versionStatus(source v1.SourceName, holder admin.HolderKey, h admin.Holding) v1.VersionStatus {
	return v1.VersionStatus{
		Host: holder.Host, Location: holder.Location, Name: ".clusterbackup/versions/" + string(source) + "/" + string(h.Version),
		Size: h.Size, ModTime: time.Unix(0, h.ModTime).UTC().Format(time.RFC3339Nano), Digest: h.Digest.String(),
		Since: metav1.NewTime(time.Unix(0, h.Until).UTC()), Until: metav1.NewTime(time.Unix(0, h.Expires).UTC()),
	}
}

// Approve implements admin.Operations.
func (b *backend) Approve(ctx context.Context, name v1.SourceName) (int64, error) {
	sources, err := b.sourcesOf(name)
	if err != nil {
		return 0, err
	}
	if host := sources[0].Spec.Host; host != b.identity.Host() {
		return b.at(host).Approve(ctx, name)
	}
	running, done := b.sources.Use(name)
	defer done()
	if running == nil {
		return 0, admin.Errorf(admin.Unavailable, "source/"+string(name), "it is not open on its host")
	}
	held, err := running.Catalog.Approve()
	if errors.Is(err, catalog.ErrNothingHeld) {
		return 0, admin.Errorf(admin.Conflict, "source/"+string(name), "no deletion is held")
	}
	if err != nil {
		return 0, err
	}
	b.rescan(name)
	return held.Files, nil
}

// Verify implements admin.Operations: each host reads its own locations, all at once.
func (b *backend) Verify(ctx context.Context, query admin.VerifyQuery) iter.Seq2[admin.VerifyProgress, error] {
	return func(yield func(admin.VerifyProgress, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if query.Source != "" {
			if _, err := b.sourcesOf(query.Source); err != nil {
				yield(admin.VerifyProgress{}, err)
				return
			}
		}
		steps := make(chan admin.VerifyProgress)
		var reading sync.WaitGroup
		found := false
		for _, l := range b.desired.Locations() {
			if query.Location != "" && l.Name != string(query.Location) {
				continue
			}
			found = true
			reading.Go(func() { b.verifyAt(ctx, l, query, steps) })
		}
		if !found {
			yield(admin.VerifyProgress{}, notFound(v1.KindLocation, string(query.Location)))
			return
		}
		go func() { reading.Wait(); close(steps) }()
		var sum admin.VerifyProgress
		for step := range steps {
			addProgress(&sum, step)
			if !yield(sum, nil) {
				cancel()
				for range steps { // the readers are waited for
				}
				return
			}
			sum.Problems = nil
		}
		sum.Done = true
		yield(sum, ctx.Err())
	}
}

func addProgress(sum *admin.VerifyProgress, step admin.VerifyProgress) {
	sum.Files += step.Files
	sum.Bytes += step.Bytes
	sum.TotalFiles += step.TotalFiles
	sum.TotalBytes += step.TotalBytes
	sum.Corrupt += step.Corrupt
	sum.Missing += step.Missing
	sum.Unreachable = append(sum.Unreachable, step.Unreachable...)
	sum.Problems = step.Problems
}

// verifyAt sends what one location's verification shows, each step by itself.
func (b *backend) verifyAt(ctx context.Context, l *v1.Location, query admin.VerifyQuery, steps chan<- admin.VerifyProgress) {
	send := func(p admin.VerifyProgress) bool {
		select {
		case steps <- p:
			return true
		case <-ctx.Done():
			return false
		}
	}
	holder := admin.HolderKey{Host: l.Spec.Host, Location: v1.LocationName(l.Name)}
	q := verifyRequest{Location: holder.Location, Source: query.Source, Full: query.Full}
	var err error
	if holder.Host == b.identity.Host() {
		err = b.verifyHere(ctx, q, send)
	} else {
		err = b.verifyThere(ctx, holder.Host, q, send)
	}
	if err != nil && ctx.Err() == nil {
		send(admin.VerifyProgress{Unreachable: []admin.HolderKey{holder}})
	}
}

func (b *backend) verifyThere(ctx context.Context, host v1.HostName, q verifyRequest, send func(admin.VerifyProgress) bool) error {
	for step, err := range callVerify(ctx, b.peers, host, q) {
		if err != nil {
			return err
		}
		if !send(step) {
			return ctx.Err()
		}
	}
	return nil
}

// verifyHere reads the replicas of one source, or of all, in a location of this host.
func (b *backend) verifyHere(ctx context.Context, q verifyRequest, send func(admin.VerifyProgress) bool) error {
	holder := admin.HolderKey{Host: b.identity.Host(), Location: q.Location}
	l, done := b.locations.UseOne(holder.Location)
	defer done()
	if l == nil {
		return notOpen(holder.Location)
	}
	for _, source := range b.desired.Sources() {
		name := v1.SourceName(source.Name)
		if q.Source != "" && name != q.Source {
			continue
		}
		held, err := l.Held(name)
		if err != nil {
			return err
		}
		send(admin.VerifyProgress{TotalFiles: held.Replicas, TotalBytes: held.ReplicaBytes})
		progress := func(v controllers.Verified) { send(progressOf(name, holder, v)) }
		if err := b.verifier.Verify(ctx, l, source, controllers.Asked(source, q.Full), progress); err != nil {
			return err
		}
	}
	return nil
}

func progressOf(source v1.SourceName, holder admin.HolderKey, v controllers.Verified) admin.VerifyProgress {
	p := admin.VerifyProgress{Files: v.Files, Bytes: v.Bytes, Corrupt: int64(len(v.Corrupt)), Missing: int64(len(v.Missing))}
	note := func(kind string, paths []v1.RelPath) {
		for _, path := range paths {
			p.Problems = append(p.Problems, admin.VerifyProblem{Source: source, Path: path, Location: holder.Location, Host: holder.Host, Kind: kind})
		}
	}
	note("Corrupt", v.Corrupt)
	note("Missing", v.Missing)
	return p
}
