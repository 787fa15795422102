package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

const (
	fetchChunk   = 100     // messages in one FETCH
	headerOctets = 1 << 20 // of a message that is too large
)

// Fetch hands each of refs to take exactly once, in any order, or returns an error, which ends the session if it is not
// take's own. Octets are those that the server sent. Messages over maxOctets are ErrTooLarge with the header, up to
// 1 MiB, if it can be had. A message that was asked for and not sent is asked for once more, alone. Then it is ErrVanished
// if it is certain that it is gone, poison (not_delivered, no_octets) if it is there, and otherwise an error of Fetch,
// presence_unclear, which leaves the session as it is.
//
// The time-out counts for each message by itself, and the time that take needs does not count.
func (s *Session) Fetch(ctx context.Context, refs []source.Ref, maxOctets int64, take func(source.Fetched) error) error {
	for len(refs) > 0 {
		folder := refs[0]
		n := slices.IndexFunc(refs, func(r source.Ref) bool { return r.Folder != folder.Folder || r.UIDValidity != folder.UIDValidity })
		if n < 0 {
			n = len(refs)
		}
		if err := s.ensure(ctx, folder); err != nil {
			return err
		}
		if err := s.fetchFolder(ctx, refs[:n], maxOctets, take); err != nil {
			return err
		}
		refs = refs[n:]
	}
	return nil
}

// ensure opens the folder of a ref if it is not the one that is open.
func (s *Session) ensure(ctx context.Context, ref source.Ref) error {
	if s.over != nil {
		return s.over
	}
	if s.folder.name != ref.Folder {
		if err := s.open(ctx, ref.Folder, false); err != nil {
			return err
		}
	}
	if s.folder.validity != ref.UIDValidity {
		return fault.New(fault.Transient, "uidvalidity_changed", "the folder was made anew on the server: it is listed again at the next poll",
			fmt.Errorf("folder %q: UIDVALIDITY is %d, and was %d", ref.Folder, s.folder.validity, ref.UIDValidity))
	}
	return nil
}

func (s *Session) fetchFolder(ctx context.Context, refs []source.Ref, maxOctets int64, take func(source.Fetched) error) error {
	f := &fetching{session: s, take: take, most: maxOctets, wanted: make(map[uint32]source.Ref, len(refs))}
	var small, again []source.Ref
	for _, ref := range refs {
		if ref.Octets > maxOctets {
			f.tooLarge = append(f.tooLarge, ref)
		} else {
			small = append(small, ref)
		}
	}
	for chunk := range slices.Chunk(small, fetchChunk) {
		missing, err := f.chunk(ctx, chunk)
		if err != nil {
			return f.giveUp(err)
		}
		again = append(again, missing...)
	}
	for _, ref := range again {
		if err := f.alone(ctx, ref); err != nil {
			return f.giveUp(err)
		}
	}
	if err := f.settle(ctx, f.unseen, f.byNumber); err != nil {
		return f.giveUp(err)
	}
	f.unseen = nil
	f.tooLarge, f.overlong = append(f.tooLarge, f.overlong...), nil
	for _, ref := range f.tooLarge {
		if err := f.header(ctx, ref); err != nil {
			return err
		}
	}
	return f.settle(ctx, f.unseen, f.withoutHeader)
}

// giveUp is called when the session has ended. Those whose literal was longer than they had been listed with are handed
// over without their header: it may have been they that the session broke on.
func (f *fetching) giveUp(err error) error {
	for _, ref := range f.overlong {
		err = errors.Join(err, f.deliver(ref, source.Fetched{Ref: ref, Err: source.ErrTooLarge}))
	}
	return err
}

// fetching is one Fetch in one folder.
type fetching struct {
	session  *Session
	take     func(source.Fetched) error
	most     int64
	wanted   map[uint32]source.Ref // asked for in this command and not yet taken
	tooLarge []source.Ref          // their header is still to be fetched
	overlong []source.Ref          // likewise, but they were listed with another size
	unseen   []source.Ref          // asked for and not shown: settle decides
}

// got is what one FETCH response held.
type got struct {
	uid    uint32
	raw    *source.Raw
	size   int64 // of the literal; -1: there was none
	failed error // the literal could not be spooled: the session is over
}

// limit is how many octets of a message are taken when it is fetched with others. Servers estimate RFC822.SIZE; what is
// longer than any estimate is asked for alone.
func (f *fetching) limit(ref source.Ref) int64 {
	if ref.Octets <= 0 {
		return f.most
	}
	return min(f.most, max(2*ref.Octets, ref.Octets+(1<<20)))
}

// chunk fetches messages with one command and returns those that were not delivered.
func (f *fetching) chunk(ctx context.Context, refs []source.Ref) (missing []source.Ref, err error) {
	var set imap.UIDSet
	var octets int64
	clear(f.wanted)
	for _, ref := range refs {
		set.AddNum(imap.UID(ref.UID))
		f.wanted[ref.UID] = ref
		octets += f.limit(ref)
	}
	limit := func(uid uint32) int64 { return f.limit(f.wanted[uid]) }
	err = f.command(ctx, "fetch", set, &imap.FetchItemBodySection{Peek: true}, octets, limit, func(g got) error {
		ref, ok := f.wanted[g.uid]
		switch {
		case !ok || (g.raw == nil && g.size <= f.most) || (g.size == 0 && ref.Octets > 0):
			return g.drop() // not asked for, or to be asked for alone
		case g.raw == nil:
			delete(f.wanted, g.uid)
			f.overlong = append(f.overlong, ref)
			return nil
		}
		return f.deliver(ref, source.Fetched{Ref: ref, Raw: g.raw})
	})
	if err != nil && (f.session.over != nil || !isRefusal(err, "refused", "server_bug", "corruption", "folder_missing")) {
		return nil, err
	}
	for _, ref := range refs { // a NO is about one of them; what came before it is good
		if _, ok := f.wanted[ref.UID]; ok {
			missing = append(missing, ref)
		}
	}
	return missing, nil
}

// alone asks for one message by itself. One that the server does not show is left to settle.
func (f *fetching) alone(ctx context.Context, ref source.Ref) error {
	there, _, err := f.session.look(ctx, []uint32{ref.UID}, false)
	if err != nil {
		return err
	}
	if there[ref.UID].number == 0 {
		f.unseen = append(f.unseen, ref)
		return nil
	}
	return f.byNumber(ctx, ref, there[ref.UID].number)
}

// byNumber asks for one message by its sequence number, so that it does not matter where in the response its UID is. With
// a number of 0 it cannot be asked for.
func (f *fetching) byNumber(ctx context.Context, ref source.Ref, number uint32) error {
	clear(f.wanted)
	f.wanted[ref.UID] = ref
	if number == 0 {
		return f.undelivered(ref, "not_delivered", errors.New("the server finds it, but does not show it"))
	}
	code, reason := "not_delivered", errors.New("the server lists it, but did not send it")
	limit := func(uint32) int64 { return f.most }
	err := f.command(ctx, fmt.Sprintf("fetch uid %d", ref.UID), imap.SeqSetNum(number), &imap.FetchItemBodySection{Peek: true}, f.most, limit, func(g got) error {
		switch {
		case g.uid != ref.UID:
			return g.drop()
		case g.size > f.most:
			delete(f.wanted, ref.UID)
			f.overlong = append(f.overlong, ref)
			return nil
		case g.raw == nil || (g.size == 0 && ref.Octets > 0):
			code, reason = "no_octets", errors.New("the server sends it without its octets")
			return g.drop()
		}
		return f.deliver(ref, source.Fetched{Ref: ref, Raw: g.raw})
	})
	if err != nil {
		if f.session.over != nil || !isRefusal(err, "refused", "server_bug", "corruption", "folder_missing", "cannot") {
			return err
		}
		reason = err
	}
	if _, missing := f.wanted[ref.UID]; !missing {
		return nil
	}
	return f.undelivered(ref, code, reason)
}

// undelivered hands over that a message which is there cannot be had.
func (f *fetching) undelivered(ref source.Ref, code string, reason error) error {
	return f.deliver(ref, source.Fetched{Ref: ref, Err: fault.New(fault.Poison, code,
		"look at the message with a mail client, and at the mail server's log", fmt.Errorf("uid %d of folder %q: %w", ref.UID, ref.Folder, reason))})
}

// header fetches the header of a message that is too large.
func (f *fetching) header(ctx context.Context, ref source.Ref) error {
	clear(f.wanted)
	f.wanted[ref.UID] = ref
	section := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, Peek: true, Partial: &imap.SectionPartial{Offset: 0, Size: headerOctets}}
	limit := func(uint32) int64 { return headerOctets }
	err := f.command(ctx, fmt.Sprintf("fetch the header of uid %d", ref.UID), imap.UIDSetNum(imap.UID(ref.UID)), section, headerOctets, limit, func(g got) error {
		if g.uid != ref.UID || g.raw == nil {
			return g.drop()
		}
		return f.deliver(ref, source.Fetched{Ref: ref, Raw: g.raw, Err: source.ErrTooLarge})
	})
	if f.session.over != nil {
		return f.session.over
	}
	if _, missing := f.wanted[ref.UID]; !missing {
		return err
	}
	there, _, err := f.session.look(ctx, []uint32{ref.UID}, false)
	if err != nil {
		return err
	}
	if there[ref.UID].number == 0 {
		f.unseen = append(f.unseen, ref)
		return nil
	}
	return f.withoutHeader(ctx, ref, 0)
}

// withoutHeader hands over a message that is too large and there, but whose header cannot be had.
func (f *fetching) withoutHeader(_ context.Context, ref source.Ref, _ uint32) error {
	return f.deliver(ref, source.Fetched{Ref: ref, Err: source.ErrTooLarge})
}

// deliver hands a message over, once.
func (f *fetching) deliver(ref source.Ref, fetched source.Fetched) error {
	delete(f.wanted, ref.UID)
	return f.take(fetched)
}

// command sends one FETCH and hands each response to each, after its end and outside of the operation: how long that
// takes is not the server's doing. An error of each ends the session.
func (f *fetching) command(ctx context.Context, what string, set imap.NumSet, section *imap.FetchItemBodySection, octets int64, limit func(uid uint32) int64, each func(got) error) error {
	s := f.session
	if s.over != nil {
		return s.over
	}
	budget := octets + f.most + commandOctets // f.most: one that is longer than it should be is passed over
	s.filter.expect(want{fetch: true, body: true})
	done := s.conn.Op(ctx, s.forMessages(f.most), budget)
	cmd := s.client.Fetch(set, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{section}})
	var stopped error
	for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
		if stopped != nil {
			continue // the connection is closed: take what is left, so that nothing waits
		}
		g := s.message(msg, section, limit)
		left := s.conn.Left()
		done()
		if stopped = g.failed; stopped == nil {
			stopped = each(g)
		}
		if stopped != nil {
			_ = s.conn.Close() // the rest is of no use
		}
		done = s.conn.Op(ctx, s.forMessages(f.most), left)
	}
	err := cmd.Close()
	done()
	if stopped != nil {
		s.over = stopped
		s.shut()
		return stopped
	}
	return s.outcome(what, err)
}

// message takes one FETCH response.
func (s *Session) message(msg *imapclient.FetchMessageData, section *imap.FetchItemBodySection, limit func(uid uint32) int64) got {
	g := got{size: -1}
	for item := msg.Next(); item != nil; item = msg.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			g.uid = uint32(item.UID)
		case imapclient.FetchItemDataBodySection:
			if g.failed == nil && g.raw == nil && item.Literal != nil && item.MatchCommand(section) {
				s.literal(&g, item.Literal, limit(g.uid))
			}
		}
	}
	if g.failed != nil {
		_ = g.drop()
	}
	return g
}

// literal spools a literal that is not longer than limit. One that is longer is left to be passed over.
func (s *Session) literal(g *got, literal imap.LiteralReader, limit int64) {
	g.size = literal.Size()
	if g.size > limit {
		return
	}
	if s.copyBuf == nil {
		s.copyBuf = make([]byte, 64<<10)
	}
	spool := source.NewSpool(s.spool, g.size)
	n, err := io.CopyBuffer(spool, struct{ io.Reader }{literal}, s.copyBuf)
	if err != nil {
		spool.Abort()
		g.failed = fault.New(fault.Transient, "spool", "make room in the directory for temporary files", err)
		_ = s.conn.Close()
		return
	}
	if n != g.size { // the connection ended within it; the command will say how
		spool.Abort()
		g.size = -1
		// The library would read the literal again to pass over it, while its own goroutine reads on: let that end first.
		s.shut()
		return
	}
	if g.raw, err = spool.Finish(); err != nil {
		g.failed = fault.New(fault.Transient, "spool", "make room in the directory for temporary files", err)
		_ = s.conn.Close()
	}
}

// drop lets go of the octets.
func (g got) drop() error {
	if g.raw != nil {
		return g.raw.Close()
	}
	return nil
}
