package raw_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/raw"
	"github.com/postroom/postroom/internal/source"
)

func TestOpenReadsOnlyTheChunksOfTheRange(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	want := octets(4*raw.ChunkOctets, 1)
	id := put(t, db, s, source.RawOf(want))[0]
	if _, err := db.Pool().Exec(t.Context(), "UPDATE raw_chunk SET data = 'broken' WHERE ordinal IN (0, 3)"); err != nil {
		t.Fatal(err)
	}
	from, length := int64(raw.ChunkOctets), int64(2*raw.ChunkOctets)
	if got := read(t, s, id, from, length); !bytes.Equal(got, want[from:from+length]) {
		t.Errorf("got %d other octets", len(got))
	}
	if _, err := s.Spool(t.Context(), id, from-1, 2, t.TempDir()); code(err) != "raw_corrupt" {
		t.Errorf("a range that touches a broken chunk: got %v, want raw_corrupt", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	id := put(t, db, s, rawOf(100, 1))[0]
	for _, c := range []struct {
		name               string
		id, offset, length int64
		want               string
	}{
		{"an id that is not there", id + 1, 0, 1, "raw_missing"},
		{"an offset below 0", id, -1, 1, "raw_range"},
		{"an offset behind the end", id, 101, 0, "raw_range"},
		{"to the end from behind it", id, 101, -1, "raw_range"},
		{"a length behind the end", id, 50, 51, "raw_range"},
		{"a sum that overflows", id, 50, 1<<63 - 1, "raw_range"},
	} {
		if _, err := s.Open(t.Context(), c.id, c.offset, c.length); code(err) != c.want {
			t.Errorf("Open, %s: got %v, want %s", c.name, err, c.want)
		}
		if _, err := s.Spool(t.Context(), c.id, c.offset, c.length, ""); code(err) != c.want {
			t.Errorf("Spool, %s: got %v, want %s", c.name, err, c.want)
		}
	}
	if got := read(t, s, id, 100, -1); len(got) != 0 {
		t.Errorf("from the end on: got %d octets, want 0", len(got))
	}
}

func TestReaderAfterClose(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	in, err := s.Open(t.Context(), put(t, db, s, rawOf(100, 1))[0], 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := in.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if n, err := in.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Read: got %d, %v, want 0 and io.ErrClosedPipe", n, err)
	}
}

func TestReaderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	id := put(t, db, s, rawOf(100, 1))[0]
	ctx, cancel := context.WithCancel(t.Context())
	in, err := s.Open(ctx, id, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for range 2 { // an error stays
		if _, err := in.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	}
}

// What stands in a chunk is not believed: not its lengths, and not that it is what was written.
func TestDamagedChunks(t *testing.T) {
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	good := octets(1000, 1)
	changed := bytes.Clone(good)
	changed[500] ^= 1
	frame := enc.EncodeAll(good, nil)
	flipped := bytes.Clone(frame)
	flipped[len(flipped)/2] ^= 0x40
	bomb := enc.EncodeAll(make([]byte, 256<<20), nil)
	debug.FreeOSMemory()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	stop := peak(t)
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"empty", nil},
		{"not zstd", []byte("hello")},
		{"cut", frame[:len(frame)-5]},
		{"a flipped bit", flipped},
		{"other octets of the same length", enc.EncodeAll(changed, nil)},
		{"too short", enc.EncodeAll(good[:999], nil)},
		{"too long", enc.EncodeAll(append(bytes.Clone(good), 'x'), nil)},
		{"256 MB of zeros", bomb},
		{"many frames", bytes.Repeat(enc.EncodeAll(make([]byte, raw.ChunkOctets), nil), 1000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := put(t, db, s, source.RawOf(good))[0]
			if _, err := db.Pool().Exec(t.Context(), "UPDATE raw_chunk SET data = $2 WHERE raw_id = $1", id, append([]byte{}, c.data...)); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Spool(t.Context(), id, 0, -1, ""); code(err) != "raw_corrupt" {
				t.Errorf("got %v, %v, want raw_corrupt", got, err)
			}
		})
	}
	if held := int64(stop()) - int64(before.HeapAlloc); held > 32<<20 {
		t.Errorf("the heap grew by %d octets, want at most 32 MB", held)
	}
	if _, err := db.Pool().Exec(t.Context(), "DELETE FROM raw_chunk"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Spool(t.Context(), put(t, db, s, source.RawOf(good))[0], 0, -1, ""); code(err) != "raw_corrupt" {
		t.Errorf("no chunk: got %v, want raw_corrupt", err)
	}
}

// peak samples the heap until stop is called.
func peak(t *testing.T) (stop func() uint64) {
	t.Helper()
	var highest atomic.Uint64
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			highest.Store(max(highest.Load(), m.HeapAlloc))
			select {
			case <-end:
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 { close(end); <-ended; return highest.Load() }
}

// Not parallel: it looks at the heap of the process.
func TestLargeMessageInLittleMemory(t *testing.T) {
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	const size = 50 << 20
	spool := source.NewSpool(t.TempDir(), size)
	piece := make([]byte, raw.ChunkOctets)
	for i := range size / raw.ChunkOctets {
		copy(piece, octets(64<<10, uint64(i)))
		if _, err := spool.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	r, err := spool.Finish()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()

	defer debug.SetGCPercent(debug.SetGCPercent(20)) // to see what is held, not what is left lying
	debug.FreeOSMemory()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	stop := peak(t)
	load, err := s.Load(t.Context(), uuid.New(), r)
	if err != nil {
		t.Fatal(err)
	}
	id, err := adopt(t, db, s, load, r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := s.Spool(t.Context(), id, 0, -1, t.TempDir())
	used := stop()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = back.Close() }()
	if back.SHA256() != r.SHA256() || back.Octets() != size {
		t.Errorf("got %d other octets back", back.Octets())
	}
	if held := int64(used) - int64(before.HeapAlloc); held > 16<<20 {
		t.Errorf("the heap grew by %d octets for a message of %d, want at most 16 MB", held, size)
	}
}
