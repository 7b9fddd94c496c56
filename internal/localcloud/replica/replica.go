// Package replica is the local cloud's memory: tables whose writes become visible on each replica of each plane after a lag of its
// own, as in Entra and Azure Resource Manager. A write is checked against the primary, which sees everything at once.
//
// A request takes one [View] of one replica (Store.Read) or holds the primary alone (Store.Write). Values put into a table are never
// changed in place: copy, change the copy, Put.
package replica

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Plane is a service with replicas of its own.
type Plane int

// The planes.
const (
	Login Plane = iota
	Graph
	ARM
	Vault
	planes
)

// replicas is how many copies each plane has: enough that two reads in a row often disagree while a write spreads.
const replicas = 3

// Options configure a Store; the zero value is a store in memory without lag.
type Options struct {
	Now   func() time.Time // the clock of replication, which must not jump; nil means time.Now
	Clock func() time.Time // the cloud's clock, which View.Now tells and which may be wrong on purpose; nil means Now
	Seed  uint64           // decides which replica answers and how the lag spreads
}

// Store holds every table under one lock, so that a check and the write that follows it are one.
type Store struct {
	mu      sync.RWMutex
	now     func() time.Time
	clock   func() time.Time
	seed    uint64
	seq     uint64
	lag     [planes]time.Duration
	tables  map[string]table
	history history
	log     *log

	reads sync.Mutex
	rand  *rand.Rand
}

// table is what the store needs of a Table[T] to replay a log and to forget what has spread.
type table interface {
	settle(id string, born uint64, now time.Time)
	replay(id string, value []byte, at time.Time) error
	snapshot(emit func(id string, value any, at time.Time) error) error
	reset()
}

// New makes an empty store.
func New(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Clock == nil {
		o.Clock = o.Now
	}
	return &Store{now: o.Now, clock: o.Clock, seed: o.Seed, tables: map[string]table{}, rand: rand.New(rand.NewPCG(o.Seed, 1))}
}

// SetLag sets the longest time until a write made from now on is visible on every replica of the plane.
func (s *Store) SetLag(p Plane, longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag[p] = longest
}

// Lag is the longest lag of the plane.
func (s *Store) Lag(p Plane) time.Duration {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.lag[p]
}

// View is what one request sees.
type View struct {
	now     time.Time // of replication
	clock   time.Time // of the cloud
	plane   Plane
	replica int // -1 is the primary
}

// Now is the cloud's time at which the view was taken.
func (v View) Now() time.Time { return v.clock }

// view is what a replica of a plane shows now.
func (s *Store) view(p Plane, replica int) View {
	return View{now: s.now(), clock: s.clock(), plane: p, replica: replica}
}

// Tx is a view of the primary that may write.
type Tx struct {
	View
	s *Store
}

// Read lends f the view of a replica of the plane, chosen by chance. f must not keep the view.
func (s *Store) Read(p Plane, f func(v View)) {
	s.reads.Lock()
	r := s.rand.IntN(replicas)
	s.reads.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	f(s.view(p, r))
}

// Primary lends f a view that sees every write.
func (s *Store) Primary(f func(v View)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f(s.view(0, -1))
}

// Write lends f the primary, alone. What f has put stays even if f returns an error, so f checks first and writes last.
func (s *Store) Write(f func(tx Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := Tx{View: s.view(0, -1), s: s}
	s.history.settle(tx.now)
	return f(tx)
}

// version is one value of an object; nil means deleted.
type version[T any] struct {
	value  *T
	at     time.Time
	seq    uint64
	lag    [planes]time.Duration
	spread time.Time // when every replica of every plane has it
}

type cell[T any] struct {
	born     uint64
	versions []version[T] // oldest first
}

// birth is a place in the order of a table. An object that was forgotten and made again under its id has a later one.
type birth struct {
	id   string
	born uint64
}

// Table is a set of objects by id, with indexes.
type Table[T any] struct {
	s       *Store
	name    string
	index   map[string]func(T) []string
	cells   map[string]*cell[T]
	order   []birth
	entries map[string]map[string]map[string]int // index → key → id → how many retained versions have it
	newest  map[string]map[string]int            // index → key → how many objects have it in their newest version
	objects int                                  // how many objects have a newest version that is not a deletion
}

// NewTable adds a table to the store. index names functions that give the keys under which By finds an object; keys are compared as
// they are, so fold case in the function where the service does.
func NewTable[T any](s *Store, name string, index map[string]func(T) []string) *Table[T] {
	t := &Table[T]{s: s, name: name, index: index}
	t.reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables[name] = t
	return t
}

func (t *Table[T]) reset() {
	t.cells, t.order, t.objects = map[string]*cell[T]{}, nil, 0
	t.entries, t.newest = map[string]map[string]map[string]int{}, map[string]map[string]int{}
	for name := range t.index {
		t.entries[name], t.newest[name] = map[string]map[string]int{}, map[string]int{}
	}
}

// Get returns the object as the view shows it.
func (t *Table[T]) Get(v View, id string) (T, bool) {
	if c := t.cells[id]; c != nil {
		if p := t.visible(v, id, c); p != nil {
			return *p, true
		}
	}
	var none T
	return none, false
}

// By returns the objects that the view shows under a key of an index, oldest first.
func (t *Table[T]) By(v View, index, key string) []T {
	ids := t.entries[index][key]
	hits := make([]hit[T], 0, len(ids))
	for id := range ids {
		c := t.cells[id]
		p := t.visible(v, id, c)
		if p == nil || !slices.Contains(t.index[index](*p), key) {
			continue
		}
		hits = append(hits, hit[T]{c.born, *p})
	}
	slices.SortFunc(hits, func(a, b hit[T]) int { return cmp.Compare(a.born, b.born) })
	values := make([]T, len(hits))
	for i, h := range hits {
		values[i] = h.value
	}
	return values
}

type hit[T any] struct {
	born  uint64
	value T
}

// All returns every object that the view shows, oldest first.
func (t *Table[T]) All(v View) []T { return slices.Collect(t.Each(v)) }

// cell is the object that was born at that place, nil if it is forgotten.
func (t *Table[T]) cell(b birth) *cell[T] {
	if c := t.cells[b.id]; c != nil && c.born == b.born {
		return c
	}
	return nil
}

// Put writes an object; it is visible elsewhere after the lag.
func (t *Table[T]) Put(tx Tx, id string, value T) {
	t.write(tx, id, &value)
	tx.s.log.put(t.name, id, value, tx.now)
}

// Delete removes an object; replicas go on showing it until the lag has passed.
func (t *Table[T]) Delete(tx Tx, id string) {
	if t.cells[id] == nil {
		return
	}
	t.write(tx, id, nil)
	tx.s.log.put(t.name, id, nil, tx.now)
}

func (t *Table[T]) write(tx Tx, id string, value *T) {
	s := tx.s
	s.seq++
	ver := version[T]{value: value, at: tx.now, seq: s.seq, lag: s.lag, spread: tx.now}
	for _, l := range s.lag {
		if at := tx.now.Add(l); at.After(ver.spread) {
			ver.spread = at
		}
	}
	t.append(id, ver, tx.now)
}

func (t *Table[T]) append(id string, ver version[T], now time.Time) {
	c := t.cells[id]
	if c == nil {
		c = &cell[T]{born: ver.seq}
		t.cells[id] = c
		t.order = append(t.order, birth{id, c.born})
	}
	if n := len(c.versions); n > 0 {
		t.tally(c.versions[n-1].value, -1)
	}
	t.tally(ver.value, +1)
	c.versions = append(c.versions, ver)
	t.count(id, ver.value, +1)
	if !t.prune(id, c, now) {
		t.s.history.add(pending{ver.spread, t, id, c.born})
	}
}

// settle drops what the object at that place no longer needs.
func (t *Table[T]) settle(id string, born uint64, now time.Time) {
	if c := t.cell(birth{id, born}); c != nil {
		t.prune(id, c, now)
	}
}

// prune drops the versions that are history because a later one has spread everywhere, and the object if it is deleted everywhere. It
// tells whether the object is at rest: it has one version that will never go by itself, or is gone.
func (t *Table[T]) prune(id string, c *cell[T], now time.Time) bool {
	keep := 0
	for i := len(c.versions) - 1; i > 0; i-- {
		if !c.versions[i].spread.After(now) {
			keep = i
			break
		}
	}
	for _, old := range c.versions[:keep] {
		t.count(id, old.value, -1)
	}
	if keep > 0 {
		c.versions = append([]version[T](nil), c.versions[keep:]...)
	}
	if len(c.versions) > 1 {
		return false
	}
	if c.versions[0].value == nil {
		t.forget(id)
	}
	return true
}

func (t *Table[T]) forget(id string) {
	delete(t.cells, id)
	if len(t.order) > 64 && len(t.order) > 2*len(t.cells) {
		t.order = slices.DeleteFunc(t.order, func(b birth) bool { return t.cell(b) == nil })
	}
}

func (t *Table[T]) count(id string, value *T, by int) {
	if value == nil {
		return
	}
	for name, keys := range t.index {
		for _, key := range keys(*value) {
			ids := t.entries[name][key]
			if ids == nil {
				ids = map[string]int{}
				t.entries[name][key] = ids
			}
			if ids[id] += by; ids[id] <= 0 {
				delete(ids, id)
			}
			if len(ids) == 0 {
				delete(t.entries[name], key)
			}
		}
	}
}

// visible is the newest value of the object that the view's replica has.
func (t *Table[T]) visible(v View, id string, c *cell[T]) *T {
	for i := len(c.versions) - 1; i >= 0; i-- {
		ver := c.versions[i]
		if v.replica < 0 || !ver.at.Add(t.delay(v, id, ver)).After(v.now) {
			return ver.value
		}
	}
	return nil
}

// delay spreads a version's lag over the replicas: one replica of each plane has it after the whole lag, the others after a part.
func (t *Table[T]) delay(v View, id string, ver version[T]) time.Duration {
	longest := ver.lag[v.plane]
	if longest <= 0 {
		return 0
	}
	h := mix(t.s.seed ^ ver.seq*0x9e3779b97f4a7c15 ^ uint64(v.plane)<<32)
	if uint64(v.replica) == h%replicas {
		return longest
	}
	part := mix(h^uint64(v.replica+1)) >> 11
	return time.Duration(float64(longest) * float64(part) / (1 << 53))
}

// mix is the finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
