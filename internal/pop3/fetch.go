package pop3

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

// Bounds of a message.
const (
	headerOctets = 1 << 20  // kept of a header
	sizeSlack    = 64 << 10 // beyond twice the listed size: servers count a line end as one octet and send two
	writeBuffer  = 32 << 10
)

// Fetch hands over the octets of refs, which List of this session has returned, each by exactly one call of take, in any
// order; or it returns an error. It does not return take's error wrapped in anything.
//
// A message of more than maxOctets, which must be positive, is source.ErrTooLarge, with its header if the server has TOP. One that the server
// refuses because it is gone is source.ErrVanished. One that it refuses for a reason of its own, or that is far longer
// than listed, is a Poison (retr_refused, size_mismatch). But if it hands out no other message either, the fault is the
// server's: Fetch fails with retr_refused, and no message is blamed.
//
// A message is what the server sent up to CRLF "." CRLF, with leading dots un-stuffed and nothing else changed. A
// connection that is cut before is an error, and nothing of the message is handed over.
func (s *Session) Fetch(ctx context.Context, refs []source.Ref, maxOctets int64, take func(source.Fetched) error) error {
	if s.ended {
		return errEnded()
	}
	if !s.listed {
		if _, err := s.list(ctx); err != nil {
			return err
		}
	}
	f := &fetcher{s: s, maxOctets: maxOctets, take: take, w: bufio.NewWriterSize(nil, writeBuffer)}
	gone, err := f.plan(refs)
	if err != nil {
		return err
	}
	for _, ref := range gone {
		if err := take(source.Fetched{Ref: ref, Err: source.ErrVanished}); err != nil {
			return err
		}
	}
	err = s.run(ctx, pipe{count: len(f.jobs), command: f.command, octets: f.octets, read: f.read, then: f.then})
	if err != nil {
		return err
	}
	return f.settle(ctx)
}

// fetcher is one Fetch.
type fetcher struct {
	s         *Session
	maxOctets int64
	take      func(source.Fetched) error
	w         *bufio.Writer
	jobs      []job
	refused   []refusal

	answer reply          // the reply that was read last
	got    source.Fetched // what it brought
	end    error          // why the session cannot go on after it
}

// job is one message to be fetched.
type job struct {
	ref    source.Ref
	number int
	large  bool // its header only
}

// plan finds each ref in the session's listing.
func (f *fetcher) plan(refs []source.Ref) (gone []source.Ref, err error) {
	var strays []source.Ref // of another session, or changed
	for _, ref := range refs {
		if e, ok := f.s.byNumber(ref); ok {
			f.add(ref, e)
		} else {
			strays = append(strays, ref)
		}
	}
	if len(strays) == 0 {
		return nil, nil
	}
	for i, m := range f.s.byIdentity(strays) {
		switch {
		case m.exact == 1:
			f.add(strays[i], m.entry)
		case m.exact > 1:
			return nil, fault.New(fault.Transient, "unique_id_ambiguous", "list the maildrop again",
				fmt.Errorf("unique-id %q: %d messages have it", dial.ServerText(strays[i].UniqueID), m.exact))
		case !f.s.complete:
			return nil, errNotComplete()
		default:
			gone = append(gone, strays[i])
		}
	}
	return gone, nil
}

func (f *fetcher) add(ref source.Ref, e entry) {
	f.jobs = append(f.jobs, job{ref: ref, number: int(e.number), large: ref.Octets > f.maxOctets})
}

func (f *fetcher) command(b []byte, i int) []byte {
	if f.jobs[i].large {
		return append(numbered(b, "TOP", f.jobs[i].number), " 0"...)
	}
	return numbered(b, "RETR", f.jobs[i].number)
}

// limit is how many octets of a job's message are kept.
func (f *fetcher) limit(j job) int64 {
	if j.large {
		return headerOctets
	}
	return min(f.maxOctets, 2*j.ref.Octets+sizeSlack)
}

func (f *fetcher) octets(i int) (expected, bound int64) {
	limit := f.limit(f.jobs[i])
	return min(f.jobs[i].ref.Octets, limit), stuffed(limit) + drainOctets + simpleOctets
}

// stuffed is how long octets can become by dot-stuffing: a line of one dot, three octets, becomes one of four.
func stuffed(octets int64) int64 { return octets + octets/3 + 1 }

// read reads the reply to a RETR or TOP into a spool.
func (f *fetcher) read(i int) (err error) {
	f.got, f.end = source.Fetched{Ref: f.jobs[i].ref}, nil
	if f.answer, err = f.s.wire.status(); err != nil {
		return err
	}
	if f.answer.challenge {
		return violation("a challenge in answer to RETR")
	}
	if !f.answer.ok {
		return nil
	}
	limit := f.limit(f.jobs[i])
	spool := source.NewSpool(f.s.spoolDir, limit)
	defer spool.Abort()
	f.w.Reset(spool)
	octets, err := f.s.wire.body(f.w, limit, drainOctets)
	if err := f.w.Flush(); err != nil {
		return fault.New(fault.Transient, "spool", "make room in the spool directory, and let Postroom write there", err)
	}
	if errors.Is(err, errRunaway) {
		f.end = runaway(err)
	} else if err != nil {
		return fmt.Errorf("message %q of %d octets: %w", dial.ServerText(f.got.Ref.UniqueID), f.got.Ref.Octets, err)
	}
	return f.keep(f.jobs[i], spool, octets, limit)
}

// keep makes what was spooled of a message into what is handed over.
func (f *fetcher) keep(j job, spool *source.Spool, octets, limit int64) error {
	raw, err := spool.Finish()
	if err != nil {
		return fault.New(fault.Transient, "spool", "make room in the spool directory, and let Postroom write there", err)
	}
	if !j.large && octets <= limit {
		f.got.Raw = raw
		return nil
	}
	defer func() { _ = raw.Close() }() // only its header is kept, and that is copied
	if !j.large && limit < f.maxOctets {
		f.got.Err = fault.New(fault.Poison, "size_mismatch", "look at this message on the server: it is longer than the server says",
			fmt.Errorf("message listed with %d octets: more than %d came", j.ref.Octets, limit))
		return nil
	}
	f.got.Err = fmt.Errorf("message listed with %d octets: %w", j.ref.Octets, source.ErrTooLarge)
	if head := header(raw.Bytes()); len(head) > 0 {
		f.got.Raw = source.RawOf(bytes.Clone(head))
	}
	return nil
}

// then hands over what read has read.
func (f *fetcher) then(i int) error {
	j := f.jobs[i]
	switch {
	case f.answer.ok:
		f.s.retrieved = f.s.retrieved || !j.large
	case f.answer.temporary():
		f.s.drop()
		return f.answer.fault("RETR", fault.Transient, "", "")
	case !j.large:
		f.refused = append(f.refused, refusal{job: j, reply: f.answer})
		return nil
	default: // no TOP, then: the message is too large all the same
		f.got.Err = fmt.Errorf("message listed with %d octets: %w", j.ref.Octets, source.ErrTooLarge)
	}
	if err := f.take(f.got); err != nil {
		return err
	}
	if f.end != nil {
		f.s.drop()
	}
	return f.end
}

// header returns a message's header with the blank line after it; all of octets if there is none.
func header(octets []byte) []byte {
	octets = octets[:min(len(octets), headerOctets)]
	if i := bytes.Index(octets, []byte("\r\n\r\n")); i >= 0 {
		return octets[:i+4]
	}
	return octets
}
