package raw

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

// row is what a stored message's row says.
type row struct {
	id     int64
	octets int64
	sum    [sha256.Size]byte
}

func (s *Store) row(ctx context.Context, rawID int64) (row, error) {
	r := row{id: rawID}
	var sum []byte
	err := s.short(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, `SELECT octets, sha256 FROM raw WHERE raw_id = $1 AND state = 'stored'`, rawID).Scan(&r.octets, &sum)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return r, fault.New(fault.Permanent, "raw_missing", "The octets were removed, or the database was restored without them.",
			fmt.Errorf("octets %d are not stored", rawID))
	}
	if err != nil {
		return r, fmt.Errorf("open octets %d: %w", rawID, err)
	}
	copy(r.sum[:], sum)
	return r, nil
}

// Open returns length octets of a stored message from offset on; a length below 0 means all that follow. Chunks are read
// one at a time, as they are needed, and only those of the range. The reader works as long as ctx and must be closed.
//
// Errors, of Open and of Read: raw_missing, raw_range (the range is not inside of the message), raw_corrupt (what is
// stored is not what was written), and the database's.
func (s *Store) Open(ctx context.Context, rawID, offset, length int64) (io.ReadCloser, error) {
	r, err := s.row(ctx, rawID)
	if err != nil {
		return nil, err
	}
	if length, err = r.span(offset, length); err != nil {
		return nil, err
	}
	return s.reader(ctx, r, offset, length), nil
}

// span returns how many octets are to be read.
func (r row) span(offset, length int64) (int64, error) {
	if length < 0 {
		length = r.octets - offset
	}
	if offset < 0 || length < 0 || offset > r.octets || length > r.octets-offset {
		return 0, fault.New(fault.Permanent, "raw_range", "", fmt.Errorf("octets %d: no range of %d at %d in %d", r.id, length, offset, r.octets))
	}
	return length, nil
}

// Spool reads a range as Open does into a source.Raw, in memory or in an unlinked file in dir ("": the system's). Where the
// range is the whole message, its sha256 is checked. The caller closes the Raw.
func (s *Store) Spool(ctx context.Context, rawID, offset, length int64, dir string) (_ *source.Raw, err error) {
	r, err := s.row(ctx, rawID)
	if err != nil {
		return nil, err
	}
	if length, err = r.span(offset, length); err != nil {
		return nil, err
	}
	spool := source.NewSpool(dir, length)
	defer spool.Abort()
	in := s.reader(ctx, r, offset, length)
	if _, err := io.Copy(spool, in); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	out, err := spool.Finish()
	if err != nil {
		return nil, err
	}
	if length == r.octets && out.SHA256() != r.sum {
		return nil, errors.Join(corrupt(rawID, errors.New("the sha256 differs")), out.Close())
	}
	return out, nil
}

func corrupt(rawID int64, err error) error {
	return fault.New(fault.Permanent, "raw_corrupt", "Check the disk of PostgreSQL, then restore the octets from a backup.",
		fmt.Errorf("octets %d are damaged: %w", rawID, err))
}

// reader is an io.ReadCloser over a range.
type reader struct {
	next func() ([]byte, error) // the next piece of the range; io.EOF after the last
	rest []byte                 // of the piece
	err  error
}

func (s *Store) reader(ctx context.Context, r row, offset, length int64) *reader {
	var buf []byte // one chunk, used again
	return &reader{next: func() ([]byte, error) {
		if length == 0 {
			return nil, io.EOF
		}
		ordinal := offset / ChunkOctets
		var err error
		if buf, err = s.chunk(ctx, r, ordinal, buf); err != nil {
			return nil, err
		}
		piece := buf[offset-ordinal*ChunkOctets:]
		piece = piece[:min(int64(len(piece)), length)]
		offset, length = offset+int64(len(piece)), length-int64(len(piece))
		return piece, nil
	}}
}

// chunk reads and unpacks one chunk into buf. A frame that says or holds more than a chunk is refused before it is
// unpacked that far.
func (s *Store) chunk(ctx context.Context, r row, ordinal int64, buf []byte) ([]byte, error) {
	var frame []byte
	err := s.short(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, `SELECT data FROM raw_chunk WHERE raw_id = $1 AND ordinal = $2`, r.id, ordinal).Scan(&frame)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, corrupt(r.id, fmt.Errorf("chunk %d is missing", ordinal))
	}
	if err != nil {
		return nil, fmt.Errorf("read octets %d: %w", r.id, err)
	}
	out, err := s.dec.DecodeAll(frame, buf[:0])
	if err != nil {
		return nil, corrupt(r.id, fmt.Errorf("chunk %d: %w", ordinal, err))
	}
	if want := min(ChunkOctets, r.octets-ordinal*ChunkOctets); int64(len(out)) != want {
		return nil, corrupt(r.id, fmt.Errorf("chunk %d holds %d octets, not %d", ordinal, len(out), want))
	}
	return out, nil
}

// Read implements io.Reader. An error stays.
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.rest) == 0 && r.err == nil {
		r.rest, r.err = r.next()
	}
	if r.err != nil {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close implements io.Closer. Nothing is held between two reads; it lets go of the last chunk.
func (r *reader) Close() error {
	if r.err == nil {
		r.err = io.ErrClosedPipe
	}
	r.next, r.rest = nil, nil
	return nil
}
