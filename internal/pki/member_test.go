package pki

import (
	"testing"

	v1 "clusterbackup/api/v1"
)

func TestBindIsRepeatable(t *testing.T) {
	m := Member{Name: "rpi1", ID: "a", Address: "10.0.0.2:7420"}
	host, err := Bind(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	if host.Name != "rpi1" || host.Spec.Address != m.Address || host.Kind != v1.KindHost {
		t.Errorf("host is %+v", host)
	}
	again, err := Bind(host, m)
	if err != nil || again.Annotations[MemberAnnotation] != "a" {
		t.Errorf("again: %+v, %v", again, err)
	}
	_, err = Bind(host, Member{Name: "rpi1", ID: "b", Address: "10.0.0.3:7420"})
	wantErr(t, err, ErrNameTaken)
	_, err = Bind(nil, Member{Name: "RPI"})
	wantErr(t, err, ErrName)
}

// Two members that cannot reach each other admit two machines under one name. Whichever Host resource stays when they meet, exactly
// one of the machines is recognised from then on.
func TestSameNameAdmittedTwice(t *testing.T) {
	peers := []Peer{{Kind: KindHost, Name: "rpi1", Member: "a"}, {Kind: KindHost, Name: "rpi1", Member: "b"}}
	for stays := range peers {
		host, err := Bind(nil, Member{Name: "rpi1", ID: peers[stays].Member})
		if err != nil {
			t.Fatal(err)
		}
		if err := Recognise(host, peers[stays]); err != nil {
			t.Error(err)
		}
		wantErr(t, Recognise(host, peers[1-stays]), ErrRemoved)
	}
}

func TestRecognise(t *testing.T) {
	wantErr(t, Recognise(nil, Peer{Kind: KindHost, Name: "rpi1"}), ErrRemoved)
	if err := Recognise(nil, Peer{Kind: KindAdmin, Name: "ann"}); err != nil {
		t.Error(err)
	}
	// A user wrote the Host again: it names no machine, so the certificate's name decides.
	if err := Recognise(&v1.Host{}, Peer{Kind: KindHost, Name: "rpi1", Member: "a"}); err != nil {
		t.Error(err)
	}
}
