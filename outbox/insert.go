package outbox

import (
	"context"
	"time"

	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/core"
)

// maxStatementBytes bounds the intents of one INSERT, well below the packet that
// MariaDB takes by default (max_allowed_packet, 16 MB).
const maxStatementBytes = 4 << 20

// insertParameters is how many parameters a row has in an INSERT, at most.
const insertParameters = 8

// rowKey says which row a Held has inserted. MySQL's INSERT does not return seq, so
// its rows are found by ID and queue.
type rowKey struct {
	seq       int64
	id, queue string
}

// leased collects the rows that an INSERT leases for this process.
type leased struct {
	token   string // of the lease
	intents []core.Intent
	keys    []rowKey
}

// insert stores intents, in one statement if possible. If held is not nil, the rows
// that can be sent right after the COMMIT are leased and added to it. It returns how
// many intents were stored.
func (b *Box) insert(ctx context.Context, tx Tx, intents []storable, held *leased) (int, error) {
	done := 0
	for done < len(intents) {
		n, bytes := 0, 0
		var encoded [][]byte
		for _, in := range intents[done:] {
			send := in.Intent
			if in.keeps {
				send = send.Without(core.OptionDelay)
			}
			data, err := adapter.EncodeIntent(send)
			if err != nil {
				return done, err
			}
			if n > 0 && (bytes+len(data) > maxStatementBytes || (n+1)*insertParameters > b.dialect.maxParameters()) {
				break
			}
			encoded, bytes, n = append(encoded, data), bytes+len(data), n+1
		}
		if err := b.insertChunk(ctx, tx, intents[done:done+n], encoded, held); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

func (b *Box) insertChunk(ctx context.Context, tx Tx, intents []storable, encoded [][]byte, held *leased) error {
	var keys []rowKey
	var sent []core.Intent
	if held != nil {
		for _, in := range intents {
			if !in.keeps {
				keys, sent = append(keys, rowKey{id: in.ID, queue: in.Options.Queue}), append(sent, in.Intent)
			}
		}
	}
	s := newStatement(b.dialect)
	s.add("INSERT INTO ", b.quoted(b.table), " (id, dest, part, task, queue, intent, token, created, not_before, due, attempts, first_sent) ")
	if b.dialect == Postgres && len(intents) > 1 { // one row is cheaper as VALUES, by an eighth of the transaction
		b.selectRows(s, intents, encoded, held)
	} else {
		b.values(s, intents, encoded, held)
	}
	if err := b.runInsert(ctx, tx, s, keys); err != nil {
		return err
	}
	if held != nil {
		held.intents, held.keys = append(held.intents, sent...), append(held.keys, keys...)
	}
	return nil
}

// keptFor is how long the outbox keeps an intent, in microseconds.
func (in *storable) keptFor() int64 {
	return max(0, adapter.RoundUp(time.Until(in.Options.At), time.Microsecond).Microseconds())
}

// values appends VALUES with a list of values for each row.
func (b *Box) values(s *statement, intents []storable, encoded [][]byte, held *leased) {
	now := b.now()
	var dest, token, lease int // numbers of placeholders
	s.add("VALUES ")
	for i, in := range intents {
		if i > 0 {
			s.add(", ")
		}
		s.add("(").arg(in.ID).add(", ").again(b.dest, &dest).add(", ")
		if b.ordered {
			s.arg(in.part)
		} else {
			s.add("NULL")
		}
		s.add(", ").arg(in.Task).add(", ").arg(in.Options.Queue).add(", ").arg(encoded[i]).add(", ")
		switch {
		case in.keeps:
			wait := in.keptFor()
			s.add("'', ", now, ", ", now, " + ").arg(wait).add(", ", now, " + ").arg(wait).add(", 0, NULL)")
		case held != nil:
			s.again(held.token, &token).add(", ", now, ", ", now, ", ", now, " + ").again(b.lease.Microseconds(), &lease).add(", 1, ", now, ")")
		default:
			s.add("'', ", now, ", ", now, ", ", now, ", 0, NULL)")
		}
	}
}

// runInsert runs the INSERT and sets the numbers of the leased rows. Databases do
// not promise the order in which RETURNING returns rows.
func (b *Box) runInsert(ctx context.Context, tx Tx, s *statement, keys []rowKey) error {
	if len(keys) == 0 || !b.dialect.returns() {
		_, err := tx.Exec(ctx, s.text.String(), s.args...)
		return err
	}
	s.add(" RETURNING seq, id, queue")
	next := 0 // mostly the position of the next row
	return collect(ctx, tx, s.text.String(), s.args, func(rows Rows) error {
		var row rowKey
		if err := rows.Scan(&row.seq, &row.id, &row.queue); err != nil {
			return err
		}
		for i := range keys {
			k := &keys[(next+i)%len(keys)]
			if k.seq == 0 && k.id == row.id && k.queue == row.queue {
				k.seq = row.seq
				next += i + 1
				break
			}
		}
		return nil
	})
}
