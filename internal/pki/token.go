package pki

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"
)

// tokenPrefix tells people and programs what the string is; the digit is the format's version.
const tokenPrefix = "cbt1_"

// token is what a join token says: which one it is, its secret, and the fingerprint of the authority whose hosts know it. The
// checksum behind them tells a damaged copy from a wrong one.
type token struct {
	id     [8]byte
	secret [16]byte
	ca     [sha256.Size]byte
}

const tokenSize = 8 + 16 + sha256.Size

func (t token) String() string {
	data := make([]byte, 0, tokenSize+4)
	data = append(append(append(data, t.id[:]...), t.secret[:]...), t.ca[:]...)
	data = binary.BigEndian.AppendUint32(data, crc32.ChecksumIEEE(data))
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(data)
}

// parseToken reads what a user pasted: ErrToken.
func parseToken(s string) (token, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	if !ok {
		return token{}, fmt.Errorf("%w: it does not begin with %s; `cbctl create token` on a member makes one", ErrToken, tokenPrefix)
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(data) != tokenSize+4 || binary.BigEndian.Uint32(data[tokenSize:]) != crc32.ChecksumIEEE(data[:tokenSize]) {
		return token{}, fmt.Errorf("%w: it is damaged; copy it whole", ErrToken)
	}
	var t token
	copy(t.id[:], data)
	copy(t.secret[:], data[8:])
	copy(t.ca[:], data[24:])
	return t, nil
}

func (t token) name() string { return hex.EncodeToString(t.id[:]) }

// hash is what is kept of the secret. The secret is random, so nothing slower is needed.
func (t token) hash() string {
	sum := sha256.Sum256(t.secret[:])
	return hex.EncodeToString(sum[:])
}
