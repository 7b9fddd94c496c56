package localcloud

import (
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
)

// source gives ids and random bytes: repeatable ones of a seed, or those of the operating system.
type source struct {
	mu     sync.Mutex
	seeded *rand.ChaCha8 // nil: the operating system's
}

// newSource makes the source of a seed (0: the operating system's). life tells apart the lives of a cloud that keeps its state, which
// would else give the ids of its first life again.
func newSource(seed, life uint64) *source {
	if seed == 0 {
		return &source{}
	}
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	binary.LittleEndian.PutUint64(key[8:], life)
	return &source{seeded: rand.NewChaCha8(key)}
}

// Bytes returns n random bytes.
func (s *source) Bytes(n int) []byte {
	b := make([]byte, n)
	if s.seeded == nil {
		_, _ = crand.Read(b) // never fails: it ends the program instead
		return b
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.seeded.Read(b) // never fails
	return b
}

// GUID returns a version 4 UUID (RFC 9562) in lower case.
func (s *source) GUID() string {
	b := s.Bytes(16)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
