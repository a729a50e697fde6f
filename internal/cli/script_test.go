package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
	"clusterbackup/internal/admin/admintest"
	"clusterbackup/transport"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"cbctl": func() {
			os.Exit(Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// TestScripts runs cbctl as people and scripts do, against a daemon's socket behind which the state is the test's.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               setupScript,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"condition": setCondition,
			"exits":     exits,
			"change":    changeBehind,
			"mode":      checkMode,
			"holder":    addHolder,
			"progress":  setProgress,
		},
	})
}

type fakeKey struct{}

func setupScript(env *testscript.Env) error {
	state := filepath.Join(env.WorkDir, "state")
	env.Setenv("CBD_STATE", state)
	env.Setenv("TZ", "UTC")
	if err := os.Mkdir(state, 0o700); err != nil {
		return err
	}
	fake := sampleCluster(time.Now())
	env.Values[fakeKey{}] = fake
	return serveSocket(env, state, fake)
}

// serveSocket answers for fake until the script ends.
func serveSocket(env *testscript.Env, state string, fake *admintest.Fake) error {
	l, err := admin.ListenSocket(state)
	if err != nil {
		return err
	}
	server, err := transport.Listen("127.0.0.1:0", transport.Insecure())
	if err != nil {
		return err
	}
	admin.Register(server, fake, func(transport.Peer) error { return nil })
	ended := make(chan struct{})
	var serving sync.WaitGroup
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			var protocol [1]byte
			if _, err := io.ReadFull(conn, protocol[:]); err != nil {
				conn.Close()
				continue
			}
			if protocol[0] == admin.SocketFiles {
				serving.Go(func() { serveFiles(env, conn) })
				continue
			}
			go server.ServeConn(conn)
		}
	}()
	env.Defer(func() {
		l.Close()
		<-ended
		serving.Wait()
		server.Close()
	})
	return nil
}

// sampleCluster is two sources of which one is in trouble, two locations, two hosts, and files of every service.
func sampleCluster(now time.Time) *admintest.Fake {
	fake := &admintest.Fake{Now: now.Add(-2 * time.Hour), Held: map[v1.SourceName]int64{"music": 120}}
	docs, err := v1.Decode([]byte(sampleResources), "sample")
	if err != nil {
		panic(err)
	}
	for _, d := range docs {
		d.Object.SetGeneration(1)
		observe(d.Object, now)
		fake.Put(d.Object)
	}
	for _, f := range []struct {
		path    string
		service v1.Service
		holders []string
	}{
		{"2024/a.jpg", v1.Served, []string{"rpi1", "nas"}},
		{"2024/b.jpg", v1.Underserved, []string{"rpi1"}},
		{"2024/c\n\x1b[31m.jpg", v1.Underserved, nil},
		{"2025/d.jpg", v1.Overserved, []string{"rpi1", "nas", "mini"}},
		{"2025/gone.jpg", v1.Deleted, []string{"nas"}},
	} {
		fake.AllFiles = append(fake.AllFiles, sampleFile(f.path, f.service, f.holders))
	}
	fake.AllEvents = []admin.Event{
		{First: now.Add(-time.Hour), Last: now.Add(-time.Hour), Count: 1, Type: admin.EventNormal, Reason: "Scanned", Kind: v1.KindSource, Name: "photos", Host: "mini", Message: "5 files"},
		{First: now.Add(-time.Hour), Last: now.Add(-5 * time.Minute), Count: 12, Type: admin.EventWarning, Reason: "CopyFailed", Kind: v1.KindLocation, Name: "nas-pool", Host: "nas", Message: "no room"},
	}
	fake.Tops = []admin.TopRow{
		{Name: "rpi1", Reachable: true, Capacity: 1 << 40, Used: 1 << 39, Free: 1 << 39, Upload: 2 << 20, Queued: 7},
		{Name: "nas", Capacity: 1 << 40},
	}
	return fake
}

const sampleResources = `
apiVersion: clusterbackup/v1
kind: Cluster
metadata: {name: cluster}
---
apiVersion: clusterbackup/v1
kind: Host
metadata: {name: rpi1, labels: {site: attic}}
spec: {address: "rpi1.lan:7420"}
---
apiVersion: clusterbackup/v1
kind: Host
metadata: {name: nas}
spec: {address: "nas.lan:7420"}
---
apiVersion: clusterbackup/v1
kind: Location
metadata: {name: rpi1-usb, labels: {tier: slow}}
spec: {host: rpi1, path: /srv/backup, capacity: 700Gi}
---
apiVersion: clusterbackup/v1
kind: Location
metadata: {name: nas-pool}
spec: {host: nas, path: /pool/backup, reserve: 50Gi}
---
apiVersion: clusterbackup/v1
kind: Source
metadata: {name: photos, labels: {tier: gold}}
spec: {host: mini, path: /tank/photos, minReplicas: 2}
---
apiVersion: clusterbackup/v1
kind: Source
metadata: {name: music}
spec: {host: mini, path: /tank/music}
`

// observe gives an object the status that a daemon would.
func observe(obj v1.Object, now time.Time) {
	set := func(conditions *[]metav1.Condition, kind string, status metav1.ConditionStatus, reason, message string) {
		*conditions = append(*conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message,
			ObservedGeneration: 1, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))})
	}
	switch o := obj.(type) {
	case *v1.Source:
		o.Status = v1.SourceStatus{Files: 4, Bytes: 5 << 30, Replicas: []int64{1, 1, 1, 1}, Underserved: 2, Overserved: 1}
		set(&o.Status.Conditions, v1.ConditionProtected, metav1.ConditionFalse, "Underserved", "2 of 4 files have fewer than 2 replicas")
		if o.Name == "music" {
			o.Status.HeldDeletions = 120
			set(&o.Status.Conditions, v1.ConditionDeletionsHeld, metav1.ConditionTrue, "MassDeletion", "120 files are gone at once")
		} else {
			o.Status.Problems = []v1.Problem{{Path: "secret", Reason: "Unreadable", Message: "permission denied"}}
			o.Status.ProblemCount = 1
		}
	case *v1.Location:
		o.Status = v1.LocationStatus{UID: "u-1", Capacity: 700 << 30, Used: 300 << 30, Free: 400 << 30, Replicas: 4}
		set(&o.Status.Conditions, v1.ConditionAvailable, metav1.ConditionTrue, "Mounted", "")
	case *v1.Host:
		seen := metav1.NewTime(now.Add(-3 * time.Second))
		o.Status = v1.HostStatus{Version: "v1.2.3", LastSeen: &seen}
		set(&o.Status.Conditions, v1.ConditionReady, metav1.ConditionTrue, "Heard", "")
	case *v1.Cluster:
		o.Status = v1.ClusterStatus{UID: "c-1", Hosts: 2, ReadyHosts: 2}
	}
}

func sampleFile(path string, service v1.Service, holders []string) v1.File {
	f := v1.File{Spec: v1.FileSpec{Source: "photos", Path: path, Size: 12345, ModTime: "2024-01-02T03:04:05.123456789Z", Mode: "0644"}}
	f.Name = "photos/" + path
	v1.SetKind(&f)
	f.Status = v1.FileStatus{Service: service, DesiredReplicas: 2, Replicas: []v1.ReplicaStatus{}}
	for _, h := range holders {
		f.Status.Replicas = append(f.Status.Replicas, v1.ReplicaStatus{Host: v1.HostName(h), Location: v1.LocationName(h + "-disk"), State: v1.ReplicaConfirmed})
	}
	return f
}

// setCondition KIND/NAME TYPE STATUS [REASON]: what a daemon would observe.
func setCondition(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: condition KIND/NAME TYPE STATUS [REASON]")
	}
	r, err := parseRef(args[:1])
	ts.Check(err)
	condition := metav1.Condition{Type: args[1], Status: metav1.ConditionStatus(args[2]), Reason: "Test"}
	ts.Value(fakeKey{}).(*admintest.Fake).Update(r.kind, r.name, func(obj v1.Object) {
		condition.ObservedGeneration = obj.GetGeneration()
		switch o := obj.(type) {
		case *v1.Source:
			meta.SetStatusCondition(&o.Status.Conditions, condition)
		case *v1.Location:
			meta.SetStatusCondition(&o.Status.Conditions, condition)
		case *v1.Cluster:
			meta.SetStatusCondition(&o.Status.Conditions, condition)
		}
	})
}

// changeBehind KIND/NAME: somebody else changes the object, as while a person edits it.
func changeBehind(ts *testscript.TestScript, _ bool, args []string) {
	r, err := parseRef(args)
	ts.Check(err)
	fake := ts.Value(fakeKey{}).(*admintest.Fake)
	objs, err := fake.Get(context.Background(), r.kind, r.name)
	ts.Check(err)
	objs[0].SetLabels(map[string]string{"changed": "behind"})
	_, err = fake.Apply(context.Background(), objs, admin.ApplyOptions{})
	ts.Check(err)
}

// exits CODE COMMAND ARGS...: runs a command that must end with this exit code; stdout and stderr can be looked at afterwards.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		if _, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &got); scanErr != nil {
			ts.Fatalf("%v", err)
		}
	}
	if got != want {
		ts.Fatalf("%s: exit %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// mode FILE PERMISSIONS checks a file's permissions.
func checkMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}

// progress [corrupt|unreachable|early]: how the next verification goes.
func setProgress(ts *testscript.TestScript, _ bool, args []string) {
	end := admin.VerifyProgress{Files: 3, Bytes: 2048, Done: true}
	switch strings.Join(args, "") {
	case "corrupt":
		end.Corrupt = 1
		end.Problems = []admin.VerifyProblem{{Source: "photos", Path: "2024/\xff", Location: "rpi1-usb", Host: "rpi1", Kind: "Corrupt"}}
	case "unreachable":
		end.Unreachable = []admin.HolderKey{{Host: "nas", Location: "nas-pool"}}
	case "early":
		end.Done = false
	}
	fake := ts.Value(fakeKey{}).(*admintest.Fake)
	fake.Change(func() { fake.Progress = []admin.VerifyProgress{{Files: 1}, end} })
}
