package demo

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/receipt"
)

// heldSamples are three messages of two mailboxes, and the rows of tables that are right for them.
func heldSamples() ([]held, []met) {
	order, answer := uuid.New(), uuid.New()
	sum := [32]byte{1}
	at := func(s *sample, id string) held { return held{sample: s, identity: identity{s.box, id}, sha256: sum} }
	mails := []held{
		at(&sample{file: "order", box: anna, outcome: receipt.Recorded, attachments: 1}, "1"),
		at(&sample{file: "answer", box: anna, copies: "answer", answers: "order", sightings: 2}, "2"),
		at(&sample{file: "answer again", box: forward, copies: "answer", answers: "order", sightings: 2}, "1"),
		at(&sample{file: "forgery", box: forward, outcome: receipt.Quarantined, reason: receipt.Untrusted}, "2"),
	}
	row := func(id int64, b box, uid string, o receipt.Outcome) met {
		return met{ReceiptID: id, Box: b, ID: uid, SHA256: sum[:], State: "finished", Outcome: &o}
	}
	rows := []met{
		row(1, anna, "1", receipt.Recorded), row(2, anna, "2", receipt.Duplicate),
		row(3, forward, "1", receipt.Recorded), row(4, forward, "2", receipt.Quarantined),
	}
	rows[0].ActivityID, rows[0].Attachments, rows[0].Sightings = &order, new(1), 1
	for _, i := range []int{1, 2} {
		rows[i].ActivityID, rows[i].Attachments, rows[i].Sightings, rows[i].Parent = &answer, new(0), 2, &order
	}
	rows[3].Reason = new(receipt.Untrusted)
	return mails, rows
}

func compare(mails []held, rows []met, activities int) *Account {
	c := newComparison()
	c.count(rows)
	c.compare(mails)
	c.activities(activities)
	return c.account
}

func TestAccountOfWhatIsRight(t *testing.T) {
	t.Parallel()
	mails, rows := heldSamples()
	a := compare(mails, rows, 2)
	if err := a.err(); err != nil {
		t.Error(err)
	}
	if got, want := a.String(), "seen 4 = recorded 2 + duplicate 1 + ignored 0 + quarantined 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !a.settled(4) || a.settled(5) {
		t.Error("four messages have their outcome: settled for four, not for five")
	}
}

func TestAccountFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change     func(rows []met) []met
		activities int
		want       string
	}{
		"no receipt":               {func(r []met) []met { return r[:3] }, 2, "forgery: no receipt"},
		"no outcome":               {func(r []met) []met { r[0].Outcome, r[0].State = nil, "stored"; return r }, 2, "order: its receipt is stored"},
		"another outcome":          {func(r []met) []met { r[3].Outcome = new(receipt.Recorded); return r }, 2, "forgery: recorded, want quarantined"},
		"another reason":           {func(r []met) []met { r[3].Reason = new(receipt.Truncated); return r }, 2, "forgery: not quarantined because of untrusted"},
		"no reason":                {func(r []met) []met { r[3].Reason = nil; return r }, 2, "forgery: not quarantined because of untrusted"},
		"recorded twice":           {func(r []met) []met { r[1].Outcome = new(receipt.Recorded); return r }, 3, "answer: recorded 2 times"},
		"recorded never":           {func(r []met) []met { r[2].Outcome = new(receipt.Duplicate); return r }, 1, "answer: recorded 0 times"},
		"a receipt of nothing":     {func(r []met) []met { x := r[0]; x.ReceiptID, x.ID = 9, "7"; return append(r, x) }, 2, "was never there (7)"},
		"a second receipt":         {func(r []met) []met { x := r[3]; x.ReceiptID = 9; return append(r, x) }, 2, "4 messages were there, 5 were seen"},
		"one original too many":    {func(r []met) []met { return append(r, r[0]) }, 2, "order: 2 originals, want 1"},
		"other octets":             {func(r []met) []met { r[0].SHA256 = make([]byte, 32); return r }, 2, "order: the octets that are kept"},
		"no activity":              {func(r []met) []met { r[0].ActivityID = nil; return r }, 2, "order: no activity"},
		"an attachment is missing": {func(r []met) []met { r[0].Attachments = new(0); return r }, 2, "order: 0 attachments, want 1"},
		"a sighting is missing":    {func(r []met) []met { r[1].Sightings = 1; return r }, 2, "answer: 1 sightings, want 2"},
		"no parent":                {func(r []met) []met { r[1].Parent = nil; return r }, 2, "answer: does not answer order"},
		"another parent":           {func(r []met) []met { r[1].Parent = new(uuid.New()); return r }, 2, "answer: does not answer order"},
		"too many activities":      {func(r []met) []met { return r }, 3, "3 activities, want 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mails, rows := heldSamples()
			err := compare(mails, tt.change(rows), tt.activities).err()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q in it", err, tt.want)
			}
			if _, code, _, _ := fault.Describe(err); code != "demo_unaccounted" {
				t.Errorf("got code %q, want demo_unaccounted", code)
			}
		})
	}
}

func TestAccountAsJSON(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := writeJSON(&b, &Account{Seen: 1, Recorded: 1, Activities: []Activity{{Subject: "a < b"}}}); err != nil {
		t.Fatal(err)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal([]byte(b.String()), &keys); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"seen", "recorded", "duplicate", "ignored", "quarantined", "activities"} {
		if _, ok := keys[want]; !ok {
			t.Errorf("got %s, want the key %s", b.String(), want)
		}
	}
	if !strings.Contains(b.String(), `"a < b"`) || strings.Count(b.String(), "\n") != 1 {
		t.Errorf("got %q, want plain text on one line", b.String())
	}
	b.Reset()
	if err := writeJSON(&b, &Account{}); err != nil || !strings.Contains(b.String(), `"activities":[]`) {
		t.Errorf("got %q and %v, want an empty list", b.String(), err)
	}
}

func TestIdenticalSamplesAreFoundInTheirOrder(t *testing.T) {
	t.Parallel()
	mails, _ := heldSamples()
	s := &servers{mails: mails}
	for i := range s.mails {
		s.mails[i].octets = 7
	}
	a := &audit{find: s.find, met: map[messageSize]int{}}
	var got []string
	for range 3 {
		if m, ok := a.sample(forward, 7); ok {
			got = append(got, m.file)
		}
	}
	if want := []string{"answer again", "forgery"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
