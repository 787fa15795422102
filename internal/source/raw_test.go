package source_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/postroom/postroom/internal/source"
)

func octets(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestSpoolGivesBackWhatWasWritten(t *testing.T) {
	for _, n := range []int{0, 1, source.MemoryOctets - 1, source.MemoryOctets, source.MemoryOctets + 1, 5<<20 + 17} {
		want := octets(n)
		dir := t.TempDir()
		s := source.NewSpool(dir, int64(n))
		for rest := want; len(rest) > 0; {
			k := min(len(rest), 64<<10-1)
			if _, err := s.Write(rest[:k]); err != nil {
				t.Fatalf("%d octets: Write: %v", n, err)
			}
			rest = rest[k:]
		}
		if s.Octets() != int64(n) {
			t.Errorf("%d octets: Octets() = %d", n, s.Octets())
		}
		raw, err := s.Finish()
		if err != nil {
			t.Fatalf("%d octets: Finish: %v", n, err)
		}
		if !bytes.Equal(raw.Bytes(), want) {
			t.Errorf("%d octets: came back different", n)
		}
		if raw.SHA256() != sha256.Sum256(want) {
			t.Errorf("%d octets: wrong sha256", n)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%d octets: %d files with a name are left, %v", n, len(left), err)
		}
		if err := errors.Join(raw.Close(), raw.Close()); err != nil {
			t.Errorf("%d octets: Close twice: %v", n, err)
		}
	}
}

func TestSpoolRefusesMoreThanItsLimit(t *testing.T) {
	s := source.NewSpool(t.TempDir(), 10)
	if _, err := s.Write(octets(10)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte{1}); !errors.Is(err, source.ErrSpoolFull) {
		t.Errorf("the 11th octet: got %v, want ErrSpoolFull", err)
	}
	s.Abort()
}

func TestSpoolSaysThatItsDirectoryIsMissing(t *testing.T) {
	s := source.NewSpool(t.TempDir()+"/missing", 10<<20)
	if _, err := s.Write(octets(source.MemoryOctets + 1)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the directory does not exist", err)
	}
	s.Abort()
}

func TestSpoolAbortLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := source.NewSpool(dir, 10<<20)
	if _, err := s.Write(octets(2 << 20)); err != nil {
		t.Fatal(err)
	}
	s.Abort()
	s.Abort()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%d files left, %v", len(left), err)
	}
}

func TestRawOf(t *testing.T) {
	r := source.RawOf([]byte("abc"))
	if r.Octets() != 3 || r.SHA256() != sha256.Sum256([]byte("abc")) {
		t.Errorf("got %d octets, %x", r.Octets(), r.SHA256())
	}
	if err := r.Close(); err != nil || r.Octets() != 0 {
		t.Errorf("after Close: %d octets, %v", r.Octets(), err)
	}
}
