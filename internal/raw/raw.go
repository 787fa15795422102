// Package raw is the raw store: the octets of messages as the servers sent them, each once, addressed by their sha256.
//
// A message is a row of table raw and chunks of ChunkOctets, each a zstd frame of its own in raw_chunk, so that writing
// streams and reading goes by range. Small messages are put in the transaction of their receipts. Large ones are loaded
// before it, chunk by chunk, as a row of state loading that nobody sees, and adopted in it.
//
// Invariants:
//   - a row of state stored is complete from the moment that others see it, and is never changed;
//   - one sha256, one stored row;
//   - who holds a row's id in a transaction holds it FOR KEY SHARE, and users have a foreign key: a row goes (Sweep)
//     only when nobody refers to it, and nobody can begin to while it goes;
//   - what is read is bounded by what was written, whatever stands in the chunks, and checked against it.
//
// It does not know what a message is, and never writes octets to a log or an error.
package raw

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/klauspost/compress/zstd"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

// ChunkOctets is how much of a message one chunk holds, before compression. Every chunk but the last is full.
const ChunkOctets = 1 << 20

const (
	flushOctets      = 4 << 20          // compressed chunks are sent when there are so many
	statementTimeout = 30 * time.Second // of one statement outside of the caller's transaction
	putTries         = 5                // to find or make a row that another keeps making and removing
)

// Store reads and writes the octets. Its methods may be called by several goroutines at once.
type Store struct {
	pool *pgxpool.Pool
	enc  *zstd.Encoder
	dec  *zstd.Decoder
}

// New returns a Store on the tables in the search_path of pool.
func New(pool *pgxpool.Pool) *Store {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(ChunkOctets),
		zstd.WithEncoderCRC(true), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(fmt.Sprintf("raw: the encoder's options are constant: %v", err))
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(ChunkOctets), zstd.WithDecoderMaxWindow(ChunkOctets),
		zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(fmt.Sprintf("raw: the decoder's options are constant: %v", err))
	}
	return &Store{pool: pool, enc: enc, dec: dec}
}

// Put stores messages in the caller's transaction and returns the id of each, in the order of raws. Equal octets share a
// row: one that is already there is found and locked FOR KEY SHARE until the transaction ends. Rows are made in the order
// of their sha256, so that two calls never wait for each other; a caller that puts several times in one transaction must
// be ready to be rolled back by 40P01.
func (s *Store) Put(ctx context.Context, tx pgx.Tx, raws []*source.Raw) ([]int64, error) {
	wanted := make(map[[sha256.Size]byte]*source.Raw, len(raws))
	for _, r := range raws {
		wanted[r.SHA256()] = r
	}
	ids := make(map[[sha256.Size]byte]int64, len(wanted))
	var made []created
	for range putTries {
		missing := missingOf(wanted, ids)
		if len(missing) == 0 {
			break
		}
		fresh, err := insertRows(ctx, tx, missing)
		if err != nil {
			return nil, fmt.Errorf("put %d messages: %w", len(raws), err)
		}
		for _, c := range fresh {
			ids[c.raw.SHA256()] = c.id
		}
		made = append(made, fresh...)
		if missing = missingOf(wanted, ids); len(missing) == 0 {
			break
		}
		if err := lockRows(ctx, tx, missing, ids); err != nil {
			return nil, fmt.Errorf("put %d messages: %w", len(raws), err)
		}
	}
	if left := missingOf(wanted, ids); len(left) > 0 {
		return nil, fault.New(fault.Transient, "raw_contended", "", fmt.Errorf("%d messages come and go while they are stored", len(left)))
	}
	if err := s.writeChunks(ctx, tx, made); err != nil {
		return nil, fmt.Errorf("put %d messages: %w", len(raws), err)
	}
	out := make([]int64, len(raws))
	for i, r := range raws {
		out[i] = ids[r.SHA256()]
	}
	return out, nil
}

// created is a row that this call has made, whose chunks are to be written.
type created struct {
	id  int64
	raw *source.Raw
}

// missingOf returns the messages without an id, in the order of their sha256.
func missingOf(wanted map[[sha256.Size]byte]*source.Raw, ids map[[sha256.Size]byte]int64) []*source.Raw {
	var missing []*source.Raw
	for sum, r := range wanted {
		if _, ok := ids[sum]; !ok {
			missing = append(missing, r)
		}
	}
	slices.SortFunc(missing, func(a, b *source.Raw) int {
		x, y := a.SHA256(), b.SHA256()
		return bytes.Compare(x[:], y[:])
	})
	return missing
}

// insertRows makes the rows that are not there. It waits for others that make or remove one of them.
func insertRows(ctx context.Context, tx pgx.Tx, raws []*source.Raw) ([]created, error) {
	sums, octets := make([][]byte, len(raws)), make([]int64, len(raws))
	byPlace := make(map[[sha256.Size]byte]*source.Raw, len(raws))
	for i, r := range raws {
		sum := r.SHA256()
		sums[i], octets[i], byPlace[sum] = sum[:], r.Octets(), r
	}
	const sql = `INSERT INTO raw (sha256, octets, state)
		SELECT sha256, octets, 'stored' FROM unnest($1::bytea[], $2::bigint[]) WITH ORDINALITY AS r (sha256, octets, place) ORDER BY place
		ON CONFLICT (sha256) DO NOTHING RETURNING raw_id, sha256`
	rows, err := tx.Query(ctx, sql, sums, octets)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c created, err error) {
		var sum []byte
		if err := row.Scan(&c.id, &sum); err != nil {
			return c, err
		}
		c.raw = byPlace[[sha256.Size]byte(sum)]
		return c, nil
	})
}

// lockRows finds rows and adds their ids. One that has gone since is left out.
func lockRows(ctx context.Context, tx pgx.Tx, raws []*source.Raw, ids map[[sha256.Size]byte]int64) error {
	sums := make([][]byte, len(raws))
	for i, r := range raws {
		sum := r.SHA256()
		sums[i] = sum[:]
	}
	rows, err := tx.Query(ctx, `SELECT raw_id, sha256 FROM raw WHERE sha256 = ANY($1) ORDER BY sha256 FOR KEY SHARE`, sums)
	if err != nil {
		return err
	}
	var id int64
	var sum []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &sum}, func() error {
		ids[[sha256.Size]byte(sum)] = id
		return nil
	})
	return err
}

// writeChunks writes the octets of rows that this transaction has made, a few megabytes a statement.
func (s *Store) writeChunks(ctx context.Context, tx pgx.Tx, made []created) error {
	slices.SortFunc(made, func(a, b created) int { return cmp.Compare(a.id, b.id) })
	var ids []int64
	var ordinals []int32
	var data [][]byte
	var size int
	flush := func() error {
		if len(ids) == 0 {
			return nil
		}
		tag, err := tx.Exec(ctx, `INSERT INTO raw_chunk (raw_id, ordinal, data) SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bytea[])`,
			ids, ordinals, data)
		if err == nil && tag.RowsAffected() != int64(len(ids)) {
			err = fmt.Errorf("wrote %d of %d chunks", tag.RowsAffected(), len(ids))
		}
		ids, ordinals, data, size = ids[:0], ordinals[:0], nil, 0
		return err
	}
	for _, m := range made {
		for ordinal, chunk := range chunks(m.raw) {
			frame := s.enc.EncodeAll(chunk, nil)
			ids, ordinals, data, size = append(ids, m.id), append(ordinals, ordinal), append(data, frame), size+len(frame)
			if size < flushOctets {
				continue
			}
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// chunks yields the octets of r in pieces of ChunkOctets, with their ordinals.
func chunks(r *source.Raw) func(yield func(int32, []byte) bool) {
	return func(yield func(int32, []byte) bool) {
		var ordinal int32
		for c := range slices.Chunk(r.Bytes(), ChunkOctets) {
			if !yield(ordinal, c) {
				return
			}
			ordinal++
		}
	}
}

func chunkCount(octets int64) int64 { return (octets + ChunkOctets - 1) / ChunkOctets }

// Load writes a large message before its receipt's transaction, each chunk in a short transaction of its own, and returns
// an id for Adopt or Discard. Nothing is visible until Adopt. Of a message that is already stored only a mark is made.
// daemon is the caller's: when its heartbeat is stale, the row is swept.
func (s *Store) Load(ctx context.Context, daemon uuid.UUID, r *source.Raw) (int64, error) {
	sum := r.SHA256()
	var id int64
	var stored bool
	err := s.short(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, `INSERT INTO raw (state, daemon_id) VALUES ('loading', $1)
			RETURNING raw_id, EXISTS (SELECT FROM raw WHERE sha256 = $2)`, daemon, sum[:]).Scan(&id, &stored)
	})
	if err != nil {
		return 0, fmt.Errorf("load a message of %d octets: %w", r.Octets(), err)
	}
	if stored {
		return id, nil
	}
	for ordinal, chunk := range chunks(r) {
		err := s.short(ctx, func(ctx context.Context) error {
			_, err := s.pool.Exec(ctx, `INSERT INTO raw_chunk (raw_id, ordinal, data) VALUES ($1, $2, $3)`, id, ordinal, s.enc.EncodeAll(chunk, nil))
			return err
		})
		if err != nil {
			// What cannot be removed now is swept.
			return 0, errors.Join(fmt.Errorf("load a message of %d octets: %w", r.Octets(), err), s.Discard(context.WithoutCancel(ctx), id))
		}
	}
	return id, nil
}

// Discard removes a loaded message that is not going to be adopted. One that is no longer there is no error.
func (s *Store) Discard(ctx context.Context, loadID int64) error {
	err := s.short(ctx, func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, `DELETE FROM raw WHERE raw_id = $1 AND state = 'loading'`, loadID)
		return err
	})
	if err != nil {
		return fmt.Errorf("discard a loaded message: %w", err)
	}
	return nil
}

func (s *Store) short(ctx context.Context, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	return fn(ctx)
}

// Adopt makes a loaded message a stored one in the caller's transaction and returns its id. If its octets are stored
// already, it returns that row's id, locked FOR KEY SHARE, and removes the loaded one. It fails with class Transient and
// code raw_load_gone when the loaded row was swept or is incomplete: load again.
func (s *Store) Adopt(ctx context.Context, tx pgx.Tx, loadID int64, r *source.Raw) (rawID int64, err error) {
	for range putTries {
		ids := make(map[[sha256.Size]byte]int64, 1)
		if err := lockRows(ctx, tx, []*source.Raw{r}, ids); err != nil {
			return 0, fmt.Errorf("adopt a message: %w", err)
		}
		if id, ok := ids[r.SHA256()]; ok {
			if _, err := tx.Exec(ctx, `DELETE FROM raw WHERE raw_id = $1 AND state = 'loading'`, loadID); err != nil {
				return 0, fmt.Errorf("adopt a message: %w", err)
			}
			return id, nil
		}
		err := turn(ctx, tx, loadID, r)
		if err == nil {
			return loadID, nil
		}
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "23505" {
			return 0, fmt.Errorf("adopt a message: %w", err)
		} // another has stored the same octets: it is found now
	}
	return 0, fault.New(fault.Transient, "raw_contended", "", errors.New("a message comes and goes while it is adopted"))
}

// turn makes the loading row a stored one. It works in a savepoint, because another row may have the same sha256.
func turn(ctx context.Context, tx pgx.Tx, loadID int64, r *source.Raw) error {
	sum := r.SHA256()
	return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE raw SET state = 'stored', sha256 = $2, octets = $3, daemon_id = NULL, created_at = now()
			WHERE raw_id = $1 AND state = 'loading' AND (SELECT count(*) FROM raw_chunk WHERE raw_id = $1) = $4`,
			loadID, sum[:], r.Octets(), chunkCount(r.Octets()))
		if err == nil && tag.RowsAffected() != 1 {
			err = fault.New(fault.Transient, "raw_load_gone", "", fmt.Errorf("loaded message %d is no longer there, or not complete", loadID))
		}
		return err
	})
}
