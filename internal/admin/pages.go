package admin

import (
	"encoding/base64"
	"iter"
	"strings"

	v1 "clusterbackup/api/v1"
)

// PageSize is how many files a FilePage holds at most: enough that a page costs more than its envelope, few enough that the first
// arrives at once.
const PageSize = 256

// Pages gathers files into pages and ends after limit files (0: never), with Continue set when there are more. files must
// not have been cut at limit, or it cannot be told that there are more.
func Pages(files iter.Seq2[v1.File, error], limit int) iter.Seq2[FilePage, error] {
	return func(yield func(FilePage, error) bool) {
		page, sent := FilePage{}, 0
		for file, err := range files {
			if err != nil {
				if len(page.Files) == 0 || yield(page, nil) {
					yield(FilePage{}, err)
				}
				return
			}
			if limit > 0 && sent+len(page.Files) == limit {
				page.Continue = continueAfter(&page.Files[len(page.Files)-1])
				break
			}
			if len(page.Files) == PageSize {
				if !yield(page, nil) {
					return
				}
				sent += PageSize
				page = FilePage{}
			}
			page.Files = append(page.Files, file)
		}
		if len(page.Files) > 0 {
			yield(page, nil)
		}
	}
}

// PathOf is a file's path as the bytes on disk.
func PathOf(file *v1.File) v1.RelPath {
	if len(file.Spec.PathBase64) > 0 {
		return v1.RelPath(file.Spec.PathBase64)
	}
	return v1.RelPath(file.Spec.Path)
}

func continueAfter(file *v1.File) string {
	return base64.RawURLEncoding.EncodeToString([]byte(string(file.Spec.Source) + "/" + string(PathOf(file))))
}

// ParseContinue tells after which file of which source a listing goes on; both empty for an empty token.
func ParseContinue(token string) (v1.SourceName, v1.RelPath, error) {
	if token == "" {
		return "", "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", "", badToken(token)
	}
	source, path, found := strings.Cut(string(raw), "/")
	if !found {
		return "", "", badToken(token)
	}
	rel, err := v1.ParseRelPath(path)
	if err != nil {
		return "", "", badToken(token)
	}
	return v1.SourceName(source), rel, nil
}

func badToken(token string) error {
	return Errorf(Invalid, "continue token "+token, "is not one that a listing gave").
		WithHint("take it from metadata.continue of the list before")
}
