package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/raw"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/store"
)

// exactlyOnce fails the test when the tables say that something was lost or doubled: want is the number of e-mails with
// their activities.
func (p *post) exactlyOnce(tb testing.TB, want int) {
	tb.Helper()
	p.expect(tb, fmt.Sprintf("%d/%d/%d", want, want, want), `SELECT concat_ws('/', (SELECT count(*) FROM email),
		(SELECT count(*) FROM activity), (SELECT count(*) FROM event WHERE kind = 'activity.created'))`)
	p.expect(tb, "", `SELECT receipt_id::text FROM receipt r WHERE state = 'finished' AND NOT EXISTS (SELECT FROM item i WHERE i.receipt_id = r.receipt_id)`)
	p.expect(tb, "", `SELECT i.receipt_id::text FROM item i LEFT JOIN activity a USING (email_id) WHERE a.activity_id IS NULL`)
	// Each e-mail was recorded once, and each sighting but the first of an e-mail was told.
	p.expect(tb, "", `SELECT email_id::text FROM item GROUP BY email_id HAVING count(*) FILTER (WHERE outcome = 'recorded') <> 1`)
	p.expect(tb, "0", `SELECT ((SELECT count(*) FROM sighting) - (SELECT count(*) FROM email) - count(*))::text FROM event WHERE kind = 'activity.sighted'`)
	p.expect(tb, "", `SELECT activity_id::text FROM activity a WHERE version <> 1 + (SELECT count(*) FROM event e
		WHERE e.activity_id = a.activity_id AND e.kind = 'activity.upgraded')`)
	p.expect(tb, "", `SELECT a.activity_id::text FROM activity a WHERE attachments <> (SELECT count(*) FROM attachment t WHERE t.activity_id = a.activity_id)`)
}

// The batches of both have the same mail, in opposite order.
func TestConcurrentWritersInOppositeOrder(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	const rounds, size = 8, 25
	var wg sync.WaitGroup
	for who, b := range map[string]box{"ann": p.ann, "bob": p.bob, "fwd": p.fwd} {
		wg.Go(func() {
			for round := range rounds {
				var letters []letter
				for i := range size {
					letters = append(letters, letter{
						id: fmt.Sprintf("%d.%d@x", round, i), text: fmt.Sprint("letter ", round, i), received: who, doubtful: who == "fwd",
						inReplyTo: []string{fmt.Sprintf("%d.%d@x", round, (i+1)%size)},
					})
				}
				if who == "bob" {
					slices.Reverse(letters)
				}
				if _, err := p.writer.Write(t.Context(), b.lease, b.batch(uint32(1+round*size), letters...)); err != nil {
					t.Errorf("%s: %v", who, err)
				}
			}
		})
	}
	wg.Wait()
	p.exactlyOnce(t, rounds*size)
	p.expect(t, "600", `SELECT count(*)::text FROM sighting`)
}

// Two daemons, the older of which has not noticed yet, write the same batch: the fence lets one in.
func TestConcurrentWritersOfOneFolder(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	batch := p.ann.batch(1, letter{id: "a1@x", text: "t"}, letter{id: "a2@x", text: "t"})
	newer := p.ann.lease
	newer.Token++
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 10 {
			if _, err := p.writer.Write(t.Context(), p.ann.lease, batch); err != nil && !errors.Is(err, mailbox.ErrLeaseLost) {
				t.Errorf("older: %v", err)
			}
		}
	})
	wg.Go(func() {
		p.exec(t, `UPDATE lease SET token = token + 1 WHERE target_id = $1`, p.ann.id)
		for range 10 {
			if _, err := p.writer.Write(t.Context(), newer, batch); err != nil {
				t.Errorf("newer: %v", err)
			}
		}
	})
	wg.Wait()
	p.exactlyOnce(t, 2)
	if _, err := p.writer.Write(t.Context(), p.ann.lease, batch); !errors.Is(err, mailbox.ErrLeaseLost) {
		t.Errorf("older, at last: got %v, want the lease to be lost", err)
	}
}

// Random batches, each written twice and at the same time as others, come out exactly once.
func TestRandomBatchesExactlyOnce(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	uid, round := uint32(0), 0
	texts := []string{"the letter", "the letter with a footer", "quite another text"}
	rapid.Check(t, func(rt *rapid.T) {
		round++
		before := 0
		p.scan(t, []any{&before}, `SELECT count(*) FROM email`)
		type sort struct{ id, text int }
		met := make(map[sort]bool)
		boxes := []box{p.ann, p.bob, p.fwd}
		var batches [3]*receipt.Batch
		for i, b := range boxes {
			batches[i] = &receipt.Batch{FolderID: b.folder}
			for range rapid.IntRange(0, 6).Draw(rt, "messages") {
				uid++
				var items []receipt.Item
				for n := range rapid.IntRange(1, 2).Draw(rt, "items") {
					s := sort{rapid.IntRange(0, 3).Draw(rt, "id"), rapid.IntRange(0, 2).Draw(rt, "text")}
					met[sort{s.id, s.text / 2}] = true // the footer makes no other e-mail
					items = append(items, letter{
						id: fmt.Sprintf("%d.%d@x", round, s.id), text: texts[s.text], received: rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "copy"),
						attachments: []string{"a", "b"}[:rapid.IntRange(0, 2).Draw(rt, "attachments")], doubtful: rapid.Bool().Draw(rt, "doubtful"),
						inReplyTo: []string{fmt.Sprintf("%d.%d@x", round, rapid.IntRange(0, 3).Draw(rt, "parent"))},
					}.item(n+1, rapid.SampledFrom(boxes).Draw(rt, "recipient")))
				}
				batches[i].Receipts = append(batches[i].Receipts, arrive(uid, items...))
			}
		}
		var wg sync.WaitGroup
		for i, b := range boxes {
			wg.Go(func() {
				for range 2 {
					if _, err := p.writer.Write(t.Context(), b.lease, batches[i]); err != nil {
						t.Errorf("write: %v", err)
					}
				}
			})
		}
		wg.Wait()
		p.exactlyOnce(t, before+len(met))
		if t.Failed() {
			rt.Fatal("see above")
		}
	})
}

// A COMMIT that is not answered leaves it open whether the batch is there: it is read back, and written again.
func TestCommitWithoutAnswer(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	p.exec(t, `CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$`)
	p.exec(t, `CREATE CONSTRAINT TRIGGER die AFTER INSERT ON activity DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()`)
	before := p.counts(t)
	batch := p.ann.batch(1, letter{id: "a1@x", text: "t"})
	_, err := p.writer.Write(t.Context(), p.ann.lease, batch)
	if !errors.Is(err, store.ErrCommitUnknown) || store.IsolatesBadRow(err) {
		t.Fatalf("got %v, want ErrCommitUnknown", err)
	}
	if _, committed, err := p.writer.ReadBack(t.Context(), batch); err != nil || committed {
		t.Fatalf("read back: got committed %t, %v", committed, err)
	}
	p.sameCounts(t, before)
	p.exec(t, `DROP TRIGGER die ON activity`)
	expectOutcomes(t, p.write(t, p.ann, batch), "recorded")
	p.exactlyOnce(t, 1)
}

// Where the server has committed and only its answer was lost, Write finds that out by itself.
func TestCommitWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	through := &proxy{t: t, pass: true, once: true}
	db := pgtest.Open(t, store.Options{URL: through.listen(p.db.Pool().Config().ConnString())})
	results, err := db.Writer(raw.New(db.Pool())).Write(t.Context(), p.ann.lease, p.ann.batch(1, letter{id: "a1@x", text: "t"}))
	if err != nil {
		t.Fatal(err)
	}
	if through.cuts.Load() < 2 {
		t.Error("no COMMIT was cut, or nothing was read back")
	}
	expectOutcomes(t, results, "recorded")
	p.exactlyOnce(t, 1)
}

// A writer that waits for another one's e-mail finds it when that one commits, and makes its own when it does not.
func TestWriterWaitsForTheOther(t *testing.T) {
	t.Parallel()
	for _, commits := range []bool{true, false} {
		p := newPost(t)
		l := letter{id: "a1@x", text: "t"}
		item := l.item(1, p.bob)
		tx, err := p.db.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = tx.Exec(t.Context(), `INSERT INTO email (email_id, identity, identity_version) VALUES (gen_random_uuid(), $1, 1)`, item.Email.Key[:])
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan []receipt.Result)
		go func() {
			results, err := p.writer.Write(t.Context(), p.bob.lease, p.bob.batch(1, l))
			if err != nil {
				t.Errorf("write: %v", err)
			}
			done <- results
		}()
		p.awaitLock(t)
		want := "recorded"
		if commits {
			want, err = "ignored:deleted", tx.Commit(t.Context()) // an e-mail without an activity was deleted
		} else {
			err = tx.Rollback(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		expectOutcomes(t, <-done, want)
	}
}

// awaitLock returns when a session waits for a lock.
func (p *post) awaitLock(tb testing.TB) {
	tb.Helper()
	conn, err := pgx.ConnectConfig(tb.Context(), p.db.Pool().Config().ConnConfig)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close(tb.Context()) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		var waiting bool
		err := conn.QueryRow(tb.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting)
		if err != nil {
			tb.Fatal(err)
		}
		if waiting {
			return
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	p := newPost(b)
	for _, c := range []struct {
		name   string
		size   int
		octets int
	}{{"50x2KB", 50, 2 << 10}, {"50x40KB", 50, 40 << 10}, {"1x2KB", 1, 2 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			body := strings.Repeat("words that a letter is made of ", c.octets/31)
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				var letters []letter
				for range c.size {
					n++
					letters = append(letters, letter{id: fmt.Sprintf("%s.%d@x", c.name, n), text: fmt.Sprint(n, " ", body), to: []string{"a@x", "b@x"}, attachments: []string{"a"}})
				}
				batch := p.ann.batch(uint32(1+n+c.octets*100_000+c.size*10_000_000), letters...)
				b.StartTimer()
				p.write(b, p.ann, batch)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "mails/s")
		})
	}
}

func BenchmarkReplay(b *testing.B) {
	p := newPost(b)
	var letters []letter
	for i := range 50 {
		letters = append(letters, letter{id: fmt.Sprintf("%d@x", i), text: fmt.Sprint("text ", i)})
	}
	batch := p.ann.batch(1, letters...)
	for b.Loop() {
		p.write(b, p.ann, batch)
	}
}
