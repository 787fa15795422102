package raw_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/raw"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, pgtest.Goroutines()...) }

// octets returns n octets that compress like mail: half of them random.
func octets(n int, seed uint64) []byte {
	out := make([]byte, n)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	_, _ = rand.NewChaCha8(key).Read(out) // never fails
	for piece := range slices.Chunk(out, 32) {
		clear(piece[len(piece)/2:])
	}
	return out
}

func rawOf(n int, seed uint64) *source.Raw { return source.RawOf(octets(n, seed)) }

// put stores messages in a transaction of their own.
func put(tb testing.TB, db *store.DB, s *raw.Store, raws ...*source.Raw) []int64 {
	tb.Helper()
	ids, err := tryPut(tb.Context(), db, s, raws...)
	if err != nil {
		tb.Fatalf("Put: %v", err)
	}
	return ids
}

func tryPut(ctx context.Context, db *store.DB, s *raw.Store, raws ...*source.Raw) (ids []int64, err error) {
	err = db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		ids, err = s.Put(ctx, tx, raws)
		return err
	})
	return ids, err
}

func read(tb testing.TB, s *raw.Store, id, offset, length int64) []byte {
	tb.Helper()
	in, err := s.Open(tb.Context(), id, offset, length)
	if err != nil {
		tb.Fatalf("Open: %v", err)
	}
	got, err := io.ReadAll(in)
	if err != nil {
		tb.Fatalf("read: %v", err)
	}
	if err := in.Close(); err != nil {
		tb.Errorf("Close: %v", err)
	}
	return got
}

func count(tb testing.TB, db *store.DB, sql string, args ...any) int {
	tb.Helper()
	var n int
	if err := db.Pool().QueryRow(tb.Context(), sql, args...).Scan(&n); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return n
}

func TestRoundTripAroundChunkBorders(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	var seed uint64
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(0, 3000).Draw(rt, "size")
		if rapid.IntRange(0, 4).Draw(rt, "large") == 4 {
			size = rapid.IntRange(1, 2).Draw(rt, "chunks")*raw.ChunkOctets + rapid.IntRange(-2, 2).Draw(rt, "around")
		}
		seed++
		want := octets(size, seed)
		id := put(t, db, s, source.RawOf(want))[0]
		offset := rapid.IntRange(0, size).Draw(rt, "offset")
		length := rapid.IntRange(0, size-offset).Draw(rt, "length")
		if got := read(t, s, id, int64(offset), int64(length)); !bytes.Equal(got, want[offset:offset+length]) {
			rt.Fatalf("range %d+%d of %d: got %d other octets", offset, length, size, len(got))
		}
		whole, err := s.Spool(t.Context(), id, 0, -1, "")
		if err != nil {
			rt.Fatalf("Spool: %v", err)
		}
		defer func() { _ = whole.Close() }()
		if !bytes.Equal(whole.Bytes(), want) || whole.SHA256() != sha256.Sum256(want) {
			rt.Fatalf("Spool of %d octets: got %d other octets", size, whole.Octets())
		}
	})
}

func TestSameOctetsAreOneRow(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	a, b := rawOf(100, 1), rawOf(200, 2)
	first := put(t, db, s, b, a, rawOf(200, 2))
	if first[0] != first[2] || first[0] == first[1] {
		t.Errorf("in one call: got ids %v, want the same for the same octets", first)
	}
	if again := put(t, db, s, a, b); again[0] != first[1] || again[1] != first[0] {
		t.Errorf("in a second call: got %v, want %v in the order asked", again, []int64{first[1], first[0]})
	}
	if n := count(t, db, "SELECT count(*) FROM raw"); n != 2 {
		t.Errorf("got %d rows, want 2", n)
	}
	if n := count(t, db, "SELECT count(*) FROM raw_chunk"); n != 2 {
		t.Errorf("got %d chunks, want 2", n)
	}
	if none := put(t, db, s); len(none) != 0 {
		t.Errorf("nothing: got %v", none)
	}
}

func TestPutIsRolledBackWithItsTransaction(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	wanted := errors.New("no")
	err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := s.Put(ctx, tx, []*source.Raw{rawOf(100, 1)}); err != nil {
			return err
		}
		return wanted
	})
	if !errors.Is(err, wanted) {
		t.Errorf("got %v, want %v", err, wanted)
	}
	if n := count(t, db, "SELECT count(*) FROM raw"); n != 0 {
		t.Errorf("got %d rows, want 0", n)
	}
}

func TestConcurrentPutsOfTheSameSet(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	const goroutines, messages = 8, 20
	got := make([][]int64, goroutines)
	errs := make([]error, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			raws := make([]*source.Raw, messages)
			order := rand.Perm(messages)
			for i, m := range order {
				raws[i] = rawOf(500+m, uint64(m))
			}
			// Not InTx: that would hide a deadlock by trying again.
			errs[g] = pgx.BeginFunc(t.Context(), db.Pool(), func(tx pgx.Tx) error {
				ids, err := s.Put(t.Context(), tx, raws)
				if err != nil {
					return err
				}
				got[g] = make([]int64, messages)
				for i, m := range order {
					got[g][m] = ids[i]
				}
				return nil
			})
		})
	}
	wg.Wait()
	for g := range goroutines {
		if errs[g] != nil {
			t.Errorf("Put %d: %v", g, errs[g])
		}
		if !slices.Equal(got[g], got[0]) {
			t.Errorf("Put %d: got ids %v, want %v", g, got[g], got[0])
		}
	}
	if n := count(t, db, "SELECT count(*) FROM raw"); n != messages {
		t.Errorf("got %d rows, want %d", n, messages)
	}
	for m, id := range got[0] {
		if !bytes.Equal(read(t, s, id, 0, -1), octets(500+m, uint64(m))) {
			t.Errorf("message %d came back changed", m)
		}
	}
}

func adopt(tb testing.TB, db *store.DB, s *raw.Store, load int64, r *source.Raw) (id int64, err error) {
	tb.Helper()
	err = db.InTx(tb.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		id, err = s.Adopt(ctx, tx, load, r)
		return err
	})
	return id, err
}

func TestLoadAndAdopt(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	r := rawOf(3*raw.ChunkOctets+17, 1)
	load, err := s.Load(t.Context(), uuid.New(), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), load, 0, -1); code(err) != "raw_missing" {
		t.Errorf("before Adopt: got %v, want raw_missing", err)
	}
	id, err := adopt(t, db, s, load, r)
	if err != nil || id != load {
		t.Fatalf("Adopt: got %d, %v, want %d", id, err, load)
	}
	if !bytes.Equal(read(t, s, id, 0, -1), r.Bytes()) {
		t.Errorf("the octets came back changed")
	}
	if again := put(t, db, s, r)[0]; again != id {
		t.Errorf("Put of the same: got %d, want %d", again, id)
	}
	// The same once more: nothing is written twice, and the second load is gone.
	second, err := s.Load(t.Context(), uuid.New(), r)
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "SELECT count(*) FROM raw_chunk WHERE raw_id = $1", second); n != 0 {
		t.Errorf("a second load wrote %d chunks, want 0", n)
	}
	if got, err := adopt(t, db, s, second, r); err != nil || got != id {
		t.Errorf("Adopt of the second: got %d, %v, want %d", got, err, id)
	}
	if n := count(t, db, "SELECT count(*) FROM raw"); n != 1 {
		t.Errorf("got %d rows, want 1", n)
	}
}

func TestAdoptWaitsForAnother(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	r := rawOf(raw.ChunkOctets+1, 1)
	const goroutines = 6
	got, errs := make([]int64, goroutines), make([]error, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			var load int64
			if load, errs[g] = s.Load(t.Context(), uuid.New(), r); errs[g] == nil {
				got[g], errs[g] = adopt(t, db, s, load, r)
			}
		})
	}
	wg.Wait()
	for g := range goroutines {
		if errs[g] != nil || got[g] != got[0] {
			t.Errorf("got %d, %v, want %d", got[g], errs[g], got[0])
		}
	}
	if n := count(t, db, "SELECT count(*) FROM raw"); n != 1 {
		t.Errorf("got %d rows, want 1", n)
	}
}

func TestAdoptOfWhatIsGone(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	r := rawOf(2*raw.ChunkOctets, 1)
	load, err := s.Load(t.Context(), uuid.New(), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Pool().Exec(t.Context(), "DELETE FROM raw_chunk WHERE raw_id = $1 AND ordinal = 1", load); err != nil {
		t.Fatal(err)
	}
	if _, err := adopt(t, db, s, load, r); code(err) != "raw_load_gone" || fault.ClassOf(err) != fault.Transient {
		t.Errorf("incomplete: got %v, want transient raw_load_gone", err)
	}
	if err := s.Discard(t.Context(), load); err != nil {
		t.Fatal(err)
	}
	if _, err := adopt(t, db, s, load, r); code(err) != "raw_load_gone" {
		t.Errorf("discarded: got %v, want raw_load_gone", err)
	}
	if n := count(t, db, "SELECT count(*) FROM raw"); n != 0 {
		t.Errorf("got %d rows, want 0", n)
	}
	// A stored one is not a load.
	id := put(t, db, s, r)[0]
	if err := s.Discard(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "SELECT count(*) FROM raw"); n != 1 {
		t.Errorf("Discard removed a stored message")
	}
}

func TestLoadThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	const sql = `ALTER TABLE raw_chunk ADD CONSTRAINT injected CHECK (ordinal < 1)`
	if _, err := db.Pool().Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), uuid.New(), rawOf(2*raw.ChunkOctets, 1)); err == nil {
		t.Error("got no error")
	}
	if n := count(t, db, "SELECT count(*) FROM raw"); n != 0 {
		t.Errorf("got %d rows, want 0", n)
	}
}

func code(err error) string {
	_, c, _, _ := fault.Describe(err)
	return c
}

func TestPutManyInOneStatement(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	raws := []*source.Raw{rawOf(9*raw.ChunkOctets, 99)} // more than one flush
	for i := range 50 {
		raws = append(raws, rawOf(i*700, uint64(i)))
	}
	ids := put(t, db, s, raws...)
	for i, id := range ids {
		if got := read(t, s, id, 0, -1); !bytes.Equal(got, raws[i].Bytes()) {
			t.Errorf("message %d: got %d other octets, want %d", i, len(got), raws[i].Octets())
		}
	}
	if n := count(t, db, "SELECT count(*) FROM raw_chunk"); n != 49+9 {
		t.Errorf("got %d chunks, want 58: none for the empty one", n)
	}
}

func BenchmarkPut(b *testing.B) {
	db := pgtest.New(b)
	s := raw.New(db.Pool())
	var seed uint64
	for b.Loop() {
		raws := make([]*source.Raw, 50)
		for i := range raws {
			seed++
			raws[i] = rawOf(20_000, seed)
		}
		put(b, db, s, raws...)
	}
	b.ReportMetric(float64(b.N*50)/b.Elapsed().Seconds(), "messages/s")
}
