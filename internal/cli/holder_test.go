package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
	"clusterbackup/internal/admin/admintest"
	"clusterbackup/internal/ask"
	"clusterbackup/internal/manifest"
	"clusterbackup/internal/stream"
)

// generation is that of everything in these tests.
var generation = v1.Generation{Epoch: 1, Seq: 1}

// addHolder HOST SOURCE [down]: HOST holds SOURCE in the folder locations/HOST/SOURCE, with a listing made of the folder SOURCE of the
// script. A file that is in the listing and not in the location is lost there.
func addHolder(ts *testscript.TestScript, _ bool, args []string) {
	host, source := args[0], v1.SourceName(args[1])
	key := admin.HolderKey{Host: v1.HostName(host), Location: v1.LocationName(host + "-disk")}
	fake := ts.Value(fakeKey{}).(*admintest.Fake)
	now := time.Now()
	one := admin.Holder{HolderKey: key, Address: host + ".lan:7420", Live: len(args) < 3, Manifest: generation, ManifestTime: now}
	if !one.Live {
		one.Why = "host does not answer"
	}
	var listing bytes.Buffer
	w, err := manifest.NewWriter(&listing, manifest.Header{Source: source, ClusterUID: "c-1", Generation: generation, Time: now, Host: "mini"})
	ts.Check(err)
	eachFile(ts, ts.MkAbs(string(source)), func(h admin.Holding) {
		ts.Check(w.Write(&manifest.Entry{Path: h.Path, Type: manifest.File, Size: h.Size, ModTime: h.ModTime, Mode: h.Mode, Digest: h.Digest, Generation: generation}))
	})
	ts.Check(w.Close())
	var holdings []admin.Holding
	eachFile(ts, ts.MkAbs("locations/"+host+"/"+string(source)), func(h admin.Holding) { holdings = append(holdings, h) })
	fake.Change(func() {
		fake.AllHolders = append(fake.AllHolders, one)
		if fake.Manifests == nil {
			fake.Manifests, fake.AllHoldings = map[admin.HolderKey][]byte{}, map[admin.HolderKey][]admin.Holding{}
		}
		fake.Manifests[key], fake.AllHoldings[key] = listing.Bytes(), holdings
	})
}

func eachFile(ts *testscript.TestScript, root string, visit func(admin.Holding)) {
	ts.Check(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		visit(admin.Holding{Path: v1.RelPath(strings.TrimPrefix(path, root+"/")), Gen: generation, Digest: sha256.Sum256(data),
			Size: info.Size(), ModTime: info.ModTime().UnixNano(), Mode: uint32(info.Mode().Perm())})
		return nil
	}))
}

// serveFiles is a daemon's answer on the socket: a line with the host's name, then files from the location of that host.
func serveFiles(env *testscript.Env, conn net.Conn) {
	defer conn.Close()
	line, err := bufio.NewReaderSize(oneByte{conn}, 16).ReadString('\n')
	if err != nil {
		return
	}
	host := strings.TrimSuffix(line, "\n")
	request, err := ask.Receive(conn, time.Minute)
	if err != nil {
		return
	}
	if request.Kind != ask.KindLocation || request.Name != host+"-disk" {
		_ = ask.Deny(conn, "no such location")
		return
	}
	if ask.Accept(conn) != nil {
		return
	}
	_ = stream.Serve(context.Background(), conn, stream.Folder{Root: filepath.Join(env.WorkDir, "locations", host)})
}

// oneByte keeps a buffered reader from taking what comes after the line.
type oneByte struct{ net.Conn }

func (o oneByte) Read(p []byte) (int, error) { return o.Conn.Read(p[:1]) }
