package pop3

import (
	"context"
	"io"
	"math"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

// refusal is a RETR that was answered with -ERR.
type refusal struct {
	job   job
	reply reply
}

// settle decides about the messages that the server refused to hand out.
func (f *fetcher) settle(ctx context.Context) error {
	if len(f.refused) == 0 {
		return nil
	}
	if err := f.probe(ctx); err != nil {
		return err
	}
	gone, err := f.confirm(ctx)
	if err != nil {
		return err
	}
	for _, r := range f.refused {
		got := source.Fetched{Ref: r.job.ref, Err: source.ErrVanished}
		if !gone[r.job.number] {
			got.Err = refusedForGood(r.reply)
		}
		if err := f.take(got); err != nil {
			return err
		}
	}
	return nil
}

// probe makes sure that the server hands out messages at all before one is blamed or taken for gone: if this session has
// brought none, it asks for the smallest that was not refused. It fails if that is refused too, or if several were and
// there is no other.
func (f *fetcher) probe(ctx context.Context) error {
	if f.s.retrieved {
		return nil
	}
	refused := make(map[int]bool, len(f.refused))
	for _, r := range f.refused {
		refused[r.job.number] = true
	}
	smallest := entry{octets: math.MaxInt64}
	for _, e := range f.s.entries {
		if !refused[int(e.number)] && e.octets <= f.maxOctets && e.octets < smallest.octets {
			smallest = e
		}
	}
	if smallest.number == 0 {
		if len(f.refused) == 1 {
			return nil
		}
		return nothingComes(f.refused[0].reply)
	}
	var answer reply
	limit := 2*smallest.octets + sizeSlack
	err := f.s.run(ctx, pipe{
		count:   1,
		command: func(b []byte, _ int) []byte { return numbered(b, "RETR", int(smallest.number)) },
		octets:  func(int) (expected, bound int64) { return smallest.octets, stuffed(limit) + drainOctets + simpleOctets },
		read: func(int) (err error) {
			if answer, err = f.s.wire.status(); err == nil && answer.ok {
				_, err = f.s.wire.body(io.Discard, limit, drainOctets)
			}
			return err
		},
	})
	if err == nil && !answer.ok {
		err = nothingComes(answer)
	}
	f.s.retrieved = err == nil
	return err
}

func nothingComes(r reply) error {
	return r.fault("RETR", fault.Transient, "retr_refused", "the server hands out no message: look at its log")
}

// confirm asks with LIST n for the messages that seem to be gone, and returns the numbers of those that are.
func (f *fetcher) confirm(ctx context.Context) (gone map[int]bool, err error) {
	var ask []int
	for _, r := range f.refused {
		if r.reply.code == "" && r.reply.noSuchMessage() {
			ask = append(ask, r.job.number)
		}
	}
	gone = make(map[int]bool, len(ask))
	err = f.s.run(ctx, pipe{
		count:   len(ask),
		command: func(b []byte, i int) []byte { return numbered(b, "LIST", ask[i]) },
		octets:  oneLine,
		read: func(i int) error {
			r, err := f.s.wire.status()
			if err == nil && !r.ok && r.code == "" && r.noSuchMessage() {
				gone[ask[i]] = true
			}
			return err
		},
	})
	return gone, err
}

// refusedForGood is the Poison for a message that the server lists but does not hand out.
func refusedForGood(r reply) error {
	const hint = "look at this message on the server: it lists it, but does not hand it out"
	err := r.fault("RETR", fault.Poison, "retr_refused", hint)
	if fault.ClassOf(err) == fault.Poison {
		return err
	}
	return fault.New(fault.Poison, "retr_refused", hint, err) // whatever the code says, it is about this message
}
