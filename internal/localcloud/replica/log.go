package replica

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// record is one line of the log: a value, or null where the object was deleted.
type record struct {
	Table string          `json:"t"`
	ID    string          `json:"id"`
	At    time.Time       `json:"at"`
	Value json.RawMessage `json:"v"`
}

// log appends every write to a file; a nil log keeps nothing.
type log struct {
	f   *os.File
	err error // the first failed write; everything after it is not kept either, and Close says so
}

func (l *log) put(table, id string, value any, at time.Time) {
	if l == nil || l.err != nil {
		return
	}
	raw, err := json.Marshal(value)
	if err == nil {
		var line []byte
		line, err = json.Marshal(record{Table: table, ID: id, At: at, Value: raw})
		if err == nil {
			_, err = l.f.Write(append(line, '\n'))
		}
	}
	l.err = err
}

// Persist replays the file at path into the tables, which must all exist already, rewrites it without history, and from then on
// appends every write to it. A file that does not exist is made, 0600. A last line cut short by a crash is dropped; any other line
// that does not read is an error and the file stays as it is.
func (s *Store) Persist(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(path); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	compact := &log{f: tmp}
	for name, t := range s.tables {
		err := t.snapshot(func(id string, value any, at time.Time) error {
			compact.put(name, id, value, at)
			return compact.err
		})
		if err != nil {
			return err
		}
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	s.log = compact
	return nil
}

func (s *Store) load(path string) error {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 64<<20)
	var bad error
	for n := 1; in.Scan(); n++ {
		if bad != nil {
			return bad
		}
		var r record
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			bad = fmt.Errorf("%s:%d: not a record of a local cloud", path, n)
			continue
		}
		t := s.tables[r.Table]
		if t == nil {
			return fmt.Errorf("%s:%d: unknown table %q", path, n, r.Table)
		}
		if err := t.replay(r.ID, r.Value, r.At); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	return in.Err()
}

// Reset forgets everything, in the file too.
func (s *Store) Reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tables {
		t.reset()
	}
	s.history = history{}
	if s.log == nil {
		return nil
	}
	if err := s.log.f.Truncate(0); err != nil {
		return err
	}
	_, err := s.log.f.Seek(0, 0)
	return err
}

// Close stops keeping and says whether every write was kept.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		return nil
	}
	l := s.log
	s.log = nil
	if err := l.f.Close(); l.err == nil {
		return err
	}
	return l.err
}

func (t *Table[T]) replay(id string, raw []byte, at time.Time) error {
	t.s.seq++
	ver := version[T]{at: at, seq: t.s.seq, spread: at}
	if string(raw) != "null" {
		ver.value = new(T)
		if err := json.Unmarshal(raw, ver.value); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	if ver.value == nil && t.cells[id] == nil {
		return nil
	}
	t.append(id, ver, t.s.now())
	return nil
}

func (t *Table[T]) snapshot(emit func(id string, value any, at time.Time) error) error {
	for _, b := range t.order {
		c := t.cell(b)
		if c == nil {
			continue
		}
		last := c.versions[len(c.versions)-1]
		if last.value == nil {
			continue
		}
		if err := emit(b.id, *last.value, last.at); err != nil {
			return err
		}
	}
	return nil
}
