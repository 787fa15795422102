package raw_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/raw"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/store"
)

func exec(tb testing.TB, db *store.DB, sql string, args ...any) {
	tb.Helper()
	if _, err := db.Pool().Exec(tb.Context(), sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

// makeFolder makes a folder for receipts.
func makeFolder(tb testing.TB, db *store.DB) (folder int64) {
	tb.Helper()
	const sql = `WITH m AS (INSERT INTO mailbox (name, kind, address, incoming) VALUES ('f', 'forward', 'f@example.org', 'none') RETURNING mailbox_id)
		INSERT INTO folder_cursor (mailbox_id, account, name, start_at) SELECT mailbox_id, 'mail.example.org/f', 'INBOX', now() FROM m RETURNING folder_id`
	if err := db.Pool().QueryRow(tb.Context(), sql).Scan(&folder); err != nil {
		tb.Fatal(err)
	}
	return folder
}

const insertReceipt = `INSERT INTO receipt (folder_id, uidvalidity, uid, octets, raw_id, state, outcome, reason)
	VALUES ($1, 1, $2, 1, $3, 'finished', 'quarantined', 'test')`

func sweep(tb testing.TB, s *raw.Store, want int) {
	tb.Helper()
	if n, err := s.Sweep(tb.Context()); err != nil || n != want {
		tb.Errorf("Sweep: got %d, %v, want %d", n, err, want)
	}
}

func TestSweepOfStoredOctets(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	folder := makeFolder(t, db)
	ids := put(t, db, s, rawOf(10, 1), rawOf(20, 2), rawOf(30, 3))
	used, unused, young := ids[0], ids[1], ids[2]
	exec(t, db, insertReceipt, folder, 1, used)
	sweep(t, s, 0) // all are young
	exec(t, db, "UPDATE raw SET created_at = now() - interval '61 minutes' WHERE raw_id <> $1", young)
	sweep(t, s, 1)
	if n := count(t, db, "SELECT count(*) FROM raw WHERE raw_id = ANY($1)", []int64{used, young}); n != 2 {
		t.Errorf("got %d of the others, want 2", n)
	}
	if n := count(t, db, "SELECT count(*) FROM raw_chunk WHERE raw_id = $1", unused); n != 0 {
		t.Errorf("%d chunks are left over", n)
	}
	exec(t, db, "DELETE FROM receipt")
	sweep(t, s, 1)
}

func TestSweepOfLoadingOctets(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	alive, stale, unknown := uuid.New(), uuid.New(), uuid.New()
	exec(t, db, `INSERT INTO daemon (daemon_id, host, pid, version, heartbeat_at) VALUES
		($1, 'h', 1, 'v', now()), ($2, 'h', 2, 'v', now() - interval '11 minutes')`, alive, stale)
	loads := map[uuid.UUID]int64{}
	for i, d := range []uuid.UUID{alive, stale, unknown} {
		var err error
		if loads[d], err = s.Load(t.Context(), d, rawOf(100+i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	sweep(t, s, 0) // all are young
	exec(t, db, "UPDATE raw SET created_at = now() - interval '11 minutes'")
	sweep(t, s, 2)
	if n := count(t, db, "SELECT count(*) FROM raw WHERE raw_id = $1", loads[alive]); n != 1 {
		t.Error("the load of a daemon that lives was removed")
	}
	exec(t, db, "UPDATE raw SET created_at = now() - interval '25 hours'")
	sweep(t, s, 1)
}

func TestSweepGoesOverAllPages(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	exec(t, db, `INSERT INTO raw (sha256, octets, state, created_at)
		SELECT sha256(i::text::bytea), 0, 'stored', now() - interval '2 hours' FROM generate_series(1, 5000) i`)
	exec(t, db, `INSERT INTO raw (state, created_at) SELECT 'loading', now() - interval '2 days' FROM generate_series(1, 4001) i`)
	sweep(t, s, 9001)
}

// Every foreign key to raw must be known to Sweep: one that is not would make it fail, or walk through a table.
func TestSweepKnowsEveryReference(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	rows, err := db.Pool().Query(t.Context(), `SELECT conrelid::regclass::text FROM pg_constraint
		WHERE contype = 'f' AND confrelid = 'raw'::regclass ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"activity", "item", "raw_chunk", "receipt"}; !slices.Equal(got, want) {
		t.Errorf("foreign keys to raw: got %v, want %v: add the new one to unreferenced", got, want)
	}
}

// A row that a transaction has put, and will refer to, is passed over; so is one that was referred to since it was seen.
func TestSweepPassesOverWhatIsHeld(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	folder := makeFolder(t, db)
	r := rawOf(100, 1)
	id := put(t, db, s, r)[0]
	exec(t, db, "UPDATE raw SET created_at = now() - interval '2 hours'")
	err := db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		ids, err := s.Put(ctx, tx, []*source.Raw{r})
		if err != nil {
			return err
		}
		if ids[0] != id {
			t.Errorf("Put: got %d, want %d", ids[0], id)
		}
		sweep(t, s, 0) //nolint:contextcheck // on another connection, while we hold it
		_, err = tx.Exec(ctx, insertReceipt, folder, 1, ids[0])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sweep(t, s, 0)
}

// Rows come and go under the feet of those who put them: no Put fails, no receipt is without its octets.
func TestSweepAgainstPut(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := raw.New(db.Pool())
	folder := makeFolder(t, db)
	const putters, rounds, messages = 3, 60, 40
	raws := make([]*source.Raw, messages)
	for i := range raws {
		raws[i] = rawOf(200+i, uint64(i))
	}
	// Everything is old at once.
	exec(t, db, `CREATE FUNCTION age() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.created_at = now() - interval '2 hours'; RETURN NEW; END $$;
		CREATE TRIGGER age BEFORE INSERT ON raw FOR EACH ROW EXECUTE FUNCTION age()`)
	ctx, cancel := context.WithCancel(t.Context())
	var swept int
	var sweepErr error
	var sweeping, putting sync.WaitGroup
	sweeping.Go(func() {
		for ctx.Err() == nil && sweepErr == nil {
			var n int
			n, sweepErr = s.Sweep(ctx)
			swept += n
		}
	})
	errs := make([]error, putters)
	for p := range putters {
		putting.Go(func() {
			for round := range rounds {
				uid := p*rounds + round + 1
				some := rand.N(messages - 3)
				err := db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
					ids, err := s.Put(ctx, tx, raws[some:some+3])
					if err != nil {
						return err
					}
					_, err = tx.Exec(ctx, insertReceipt, folder, uid, ids[0])
					return err
				})
				if err == nil && round%2 == 0 { // lets the next Sweep have it
					_, err = db.Pool().Exec(ctx, "DELETE FROM receipt WHERE uid = $1", uid)
				}
				if err != nil {
					errs[p] = err
					return
				}
			}
		})
	}
	putting.Wait()
	cancel()
	sweeping.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("Put: %v", err)
	}
	if sweepErr != nil && !errors.Is(sweepErr, context.Canceled) {
		t.Errorf("Sweep: %v", sweepErr)
	}
	if swept == 0 {
		t.Error("nothing was swept meanwhile: the test shows nothing")
	}
	if n := count(t, db, "SELECT count(*) FROM receipt"); n != putters*(rounds/2) {
		t.Errorf("got %d receipts, want %d", n, putters*(rounds/2))
	}
	rows, err := db.Pool().Query(t.Context(), "SELECT DISTINCT raw_id FROM receipt")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		back, err := s.Spool(t.Context(), id, 0, -1, "")
		if err != nil {
			t.Errorf("octets of a receipt: %v", err)
			continue
		}
		_ = back.Close()
	}
}
