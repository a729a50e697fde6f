package v1

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NewFile is one version of a file of a source as users see it, without a status. size is in bytes, modTime in nanoseconds since 1970.
func NewFile(source SourceName, path RelPath, size, modTime int64, mode uint32, digest Digest) File {
	f := File{TypeMeta: metav1.TypeMeta{APIVersion: APIVersion, Kind: KindFile}}
	f.Spec = FileSpec{Source: source, Path: string(path), Size: size, ModTime: time.Unix(0, modTime).UTC().Format(time.RFC3339Nano),
		Mode: fmt.Sprintf("%04o", mode), Digest: digest.String()}
	if !utf8.ValidString(f.Spec.Path) {
		f.Spec.PathBase64 = []byte(path)
		f.Spec.Path = strconv.Quote(string(path))
	}
	f.Name = string(source) + "/" + f.Spec.Path
	return f
}
