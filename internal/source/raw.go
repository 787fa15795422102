package source

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"sync"
	"syscall"
)

// MemoryOctets is up to where a message is held in memory; a longer one is spooled to an unlinked temporary file.
const MemoryOctets = 1 << 20

// Raw is the octets of one message as the server sent them, with their sha256. Long ones are a mapping of a spooled
// file: the kernel pages them in and out, the heap never holds them.
//
// Bytes is valid until Close. A Raw is not written to.
type Raw struct {
	sum    [sha256.Size]byte
	octets []byte
	mapped bool
	once   sync.Once
	err    error
}

// Bytes returns the octets. They must not be changed, nor used after Close.
func (r *Raw) Bytes() []byte { return r.octets }

// Octets returns their number.
func (r *Raw) Octets() int64 { return int64(len(r.octets)) }

// SHA256 returns their digest.
func (r *Raw) SHA256() [sha256.Size]byte { return r.sum }

// Close lets go of the octets. It may be called more than once.
func (r *Raw) Close() error {
	r.once.Do(func() {
		if r.mapped {
			r.err = syscall.Munmap(r.octets)
		}
		r.octets = nil
	})
	return r.err
}

// RawOf returns a Raw that holds a copy-free view of octets.
func RawOf(octets []byte) *Raw {
	return &Raw{octets: octets, sum: sha256.Sum256(octets)}
}

// ErrSpoolFull is returned by Spool.Write when the message is longer than its limit.
var ErrSpoolFull = errors.New("message is longer than announced or allowed")

// Spool takes the octets of one message as they arrive: in memory up to MemoryOctets, then in a temporary file that
// has no name and goes with the process.
type Spool struct {
	dir   string
	limit int64
	n     int64
	buf   bytes.Buffer
	file  *os.File
	hash  hash.Hash
}

// NewSpool returns a Spool with its file in dir ("": the system's) that takes limit octets at most.
func NewSpool(dir string, limit int64) *Spool {
	return &Spool{dir: dir, limit: limit, hash: sha256.New()}
}

// Write implements io.Writer. It fails with ErrSpoolFull over the limit, and with the file system's error.
func (s *Spool) Write(p []byte) (int, error) {
	if s.n+int64(len(p)) > s.limit {
		return 0, ErrSpoolFull
	}
	if s.file == nil && s.buf.Len()+len(p) > MemoryOctets {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	var n int
	var err error
	if s.file != nil {
		n, err = s.file.Write(p)
	} else {
		n, err = s.buf.Write(p)
	}
	s.n += int64(n)
	s.hash.Write(p[:n])
	if err != nil {
		return n, fmt.Errorf("spool a message: %w", err)
	}
	return n, nil
}

func (s *Spool) spill() error {
	f, err := os.CreateTemp(s.dir, "postroom-spool-*")
	if err != nil {
		return fmt.Errorf("spool a message: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return errors.Join(fmt.Errorf("spool a message: %w", err), f.Close())
	}
	if _, err := f.Write(s.buf.Bytes()); err != nil {
		return errors.Join(fmt.Errorf("spool a message: %w", err), f.Close())
	}
	s.file, s.buf = f, bytes.Buffer{}
	return nil
}

// Octets returns how many were written.
func (s *Spool) Octets() int64 { return s.n }

// Finish returns what was written as a Raw. The Spool is used up.
func (s *Spool) Finish() (*Raw, error) {
	r := &Raw{}
	s.hash.Sum(r.sum[:0])
	if s.file == nil {
		r.octets = s.buf.Bytes()
		return r, nil
	}
	defer s.Abort()
	m, err := syscall.Mmap(int(s.file.Fd()), 0, int(s.n), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map a spooled message of %d octets: %w", s.n, err)
	}
	r.octets, r.mapped = m, true
	return r, nil
}

// Abort lets go of what was written. It may be called after Finish.
func (s *Spool) Abort() {
	if s.file != nil {
		_ = s.file.Close() // unlinked: nothing is kept, so there is nothing to lose
		s.file = nil
	}
	s.buf = bytes.Buffer{}
}
