package admin

import (
	"encoding/json"
	"fmt"
	"time"

	v1 "clusterbackup/api/v1"
)

// What the methods carry across the wire. Every answer and every item of a stream is an envelope, so that an *Error arrives as
// one. Objects travel as JSON: their types' own notion of a wire format, the same that cbctl prints.

const methodPrefix = "cb.admin."

type envelope[T any] struct {
	Value T      `cbor:"1,keyasint"`
	Err   *Error `cbor:"2,keyasint,omitempty"`
}

// open returns what is in the envelope.
func (e envelope[T]) open() (T, error) {
	if e.Err != nil {
		var zero T
		return zero, e.Err
	}
	return e.Value, nil
}

func seal[T any](value T, err error) envelope[T] {
	if err != nil {
		return envelope[T]{Err: asError(err)}
	}
	return envelope[T]{Value: value}
}

type none struct{}

type wireObject struct {
	Kind string `cbor:"1,keyasint"`
	JSON []byte `cbor:"2,keyasint"`
}

func packObject(obj v1.Object) (wireObject, error) {
	data, err := json.Marshal(obj)
	if err != nil {
		return wireObject{}, fmt.Errorf("encode %s: %w", v1.RefOf(obj), err)
	}
	return wireObject{Kind: v1.KindOf(obj), JSON: data}, nil
}

func (w wireObject) unpack() (v1.Object, error) {
	obj := v1.New(w.Kind)
	if obj == nil {
		return nil, Errorf(Invalid, "kind "+w.Kind, "is not known here").WithHint("is the other side of another version? see `cbctl version`")
	}
	if err := json.Unmarshal(w.JSON, obj); err != nil {
		return nil, fmt.Errorf("decode %s: %w", w.Kind, err)
	}
	v1.SetKind(obj)
	return obj, nil
}

func packObjects(objs []v1.Object) ([]wireObject, error) {
	packed := make([]wireObject, len(objs))
	for i, obj := range objs {
		var err error
		if packed[i], err = packObject(obj); err != nil {
			return nil, err
		}
	}
	return packed, nil
}

func unpackObjects(packed []wireObject) ([]v1.Object, error) {
	objs := make([]v1.Object, len(packed))
	for i, w := range packed {
		var err error
		if objs[i], err = w.unpack(); err != nil {
			return nil, err
		}
	}
	return objs, nil
}

type getRequest struct {
	Kind  string
	Names []string
}

type applyRequest struct {
	Objects []wireObject
	Options ApplyOptions
}

type wireApplied struct {
	Object   wireObject
	Action   Action
	Warnings []string
}

type deleteRequest struct {
	Kind, Name string
	Force      bool
}

// wireQuery is a FileQuery whose path is bytes: it need not be UTF-8.
type wireQuery struct {
	Path  []byte
	Query FileQuery
}

func packQuery(query FileQuery) wireQuery {
	w := wireQuery{Path: []byte(query.Path), Query: query}
	w.Query.Path = ""
	return w
}

func (w wireQuery) unpack() FileQuery {
	w.Query.Path = v1.RelPath(w.Path)
	return w.Query
}

// wirePage is a FilePage with each file as JSON.
type wirePage struct {
	Files    [][]byte
	Continue string
}

func packPage(page FilePage) (wirePage, error) {
	w := wirePage{Files: make([][]byte, len(page.Files)), Continue: page.Continue}
	for i := range page.Files {
		var err error
		if w.Files[i], err = json.Marshal(&page.Files[i]); err != nil {
			return wirePage{}, fmt.Errorf("encode file: %w", err)
		}
	}
	return w, nil
}

func (w wirePage) unpack() (FilePage, error) {
	page := FilePage{Files: make([]v1.File, len(w.Files)), Continue: w.Continue}
	for i, data := range w.Files {
		if err := json.Unmarshal(data, &page.Files[i]); err != nil {
			return FilePage{}, fmt.Errorf("decode file: %w", err)
		}
	}
	return page, nil
}

type fileRequest struct {
	Source v1.SourceName
	Path   []byte
}

type tokenRequest struct{ TTL time.Duration }

type identityRequest struct{ Name string }

type approveRequest struct{ Source v1.SourceName }

type topRequest struct{ Kind string }

type holdersRequest struct{ Source v1.SourceName }

type holdingsRequest struct {
	Source v1.SourceName
	Holder HolderKey
	Prefix []byte
}

// wireProgress carries paths as bytes.
type wireProgress struct {
	Progress VerifyProgress
	Paths    [][]byte
}

func packProgress(p VerifyProgress) wireProgress {
	w := wireProgress{Progress: p, Paths: make([][]byte, len(p.Problems))}
	w.Progress.Problems = append([]VerifyProblem(nil), p.Problems...)
	for i := range w.Progress.Problems {
		w.Paths[i], w.Progress.Problems[i].Path = []byte(p.Problems[i].Path), ""
	}
	return w
}

func (w wireProgress) unpack() (VerifyProgress, error) {
	if len(w.Paths) != len(w.Progress.Problems) {
		return VerifyProgress{}, fmt.Errorf("decode progress: %d paths for %d problems", len(w.Paths), len(w.Progress.Problems))
	}
	for i := range w.Paths {
		w.Progress.Problems[i].Path = v1.RelPath(w.Paths[i])
	}
	return w.Progress, nil
}

// wireHolding carries paths and the digest as bytes.
type wireHolding struct {
	Path, Version, Digest               []byte
	Gen                                 v1.Generation
	Size, ModTime                       int64
	Mode                                uint32
	Since, Until, Expires, Seen, Absent int64
}

// holdingsPage is how many holdings travel at once.
const holdingsPage = 512

func packHolding(h Holding) wireHolding {
	return wireHolding{
		Path: []byte(h.Path), Version: []byte(h.Version), Digest: h.Digest[:],
		Gen: h.Gen, Size: h.Size, ModTime: h.ModTime, Mode: h.Mode, Since: h.Since, Until: h.Until, Expires: h.Expires, Seen: h.Seen, Absent: h.Absent,
	}
}

func (w wireHolding) unpack() (Holding, error) {
	h := Holding{
		Path: v1.RelPath(w.Path), Version: v1.RelPath(w.Version),
		Gen: w.Gen, Size: w.Size, ModTime: w.ModTime, Mode: w.Mode, Since: w.Since, Until: w.Until, Expires: w.Expires, Seen: w.Seen, Absent: w.Absent,
	}
	if copy(h.Digest[:], w.Digest) != len(h.Digest) || len(w.Digest) != len(h.Digest) {
		return Holding{}, fmt.Errorf("decode holding: digest has %d bytes, want %d", len(w.Digest), len(h.Digest))
	}
	return h, nil
}

func packApplied(applied []Applied) ([]wireApplied, error) {
	packed := make([]wireApplied, len(applied))
	for i, a := range applied {
		obj, err := packObject(a.Object)
		if err != nil {
			return nil, err
		}
		packed[i] = wireApplied{obj, a.Action, a.Warnings}
	}
	return packed, nil
}

func unpackApplied(packed []wireApplied) ([]Applied, error) {
	applied := make([]Applied, len(packed))
	for i, w := range packed {
		obj, err := w.Object.unpack()
		if err != nil {
			return nil, err
		}
		applied[i] = Applied{obj, w.Action, w.Warnings}
	}
	return applied, nil
}
