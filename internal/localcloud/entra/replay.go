package entra

import (
	"crypto/sha256"
	"strings"
	"sync"
	"time"
)

// seenLimit bounds how many used assertions are remembered; the oldest goes first.
const seenLimit = 1 << 17

// seenIDs remembers the ids of used assertions until they expire (RFC 7523 §3, item 7).
type seenIDs struct {
	mu    sync.Mutex
	until map[[32]byte]time.Time
	order [][32]byte // a ring, once it is full
	next  int
}

// use tells whether the key is new, and remembers it until the time.
func (s *seenIDs) use(key [32]byte, now, until time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.until[key]; ok {
		if now.Before(t) {
			return false
		}
		s.until[key] = until
		return true
	}
	if s.until == nil {
		s.until = map[[32]byte]time.Time{}
	}
	s.until[key] = until
	if len(s.order) < seenLimit {
		s.order = append(s.order, key)
		return true
	}
	delete(s.until, s.order[s.next])
	s.order[s.next] = key
	s.next = (s.next + 1) % seenLimit
	return true
}

// once refuses an assertion that was used before for the same resource. An assertion without a jti is known by all of it.
//
// The resource is part of the key because MSAL Python signs one assertion for all its requests of nine minutes, and the Azure SDKs
// must work here unchanged. Which code the real service uses for a replay was not seen live; AADSTS50013 is its documented code for
// an assertion that is not valid for any of several reasons.
func (s *Service) once(a *assertion, client, resource string) *failure {
	if s.AllowReplay != nil && s.AllowReplay() {
		return nil
	}
	id := "jti\x00" + a.claims.ID
	if a.claims.ID == "" {
		id = "raw\x00" + a.raw
	}
	key := sha256.Sum256([]byte(client + "\x00" + strings.ToLower(strings.TrimRight(resource, "/")) + "\x00" + id))
	if s.seen.use(key, s.env.Now(), a.claims.Expires.time().Add(skew)) {
		return nil
	}
	return badClient(50013, "Assertion is invalid because it was presented before. [Reason - A client assertion with the same 'jti' has been used for this resource.]")
}
