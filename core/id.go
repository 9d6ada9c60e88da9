package core

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"sync"
	"time"
)

// entropy is a stock of random bytes. Reading ten bytes from crypto/rand costs as
// much as reading a thousand, so that newID reads a stock for many IDs.
type entropy struct {
	stock [1000]byte
	used  int
}

var entropies = sync.Pool{New: func() any { return &entropy{used: len(entropy{}.stock)} }}

// newID returns a UUID of version 7 (RFC 9562): 48 bits of Unix milliseconds,
// then 74 random bits.
func newID(now time.Time) string {
	var u [16]byte
	e := entropies.Get().(*entropy)
	if e.used+10 > len(e.stock) {
		rand.Read(e.stock[:]) // since Go 1.24 it does not fail but ends the program
		e.used = 0
	}
	copy(u[6:], e.stock[e.used:e.used+10])
	e.used += 10
	entropies.Put(e)

	ms := uint64(now.UnixMilli())
	binary.BigEndian.PutUint16(u[0:], uint16(ms>>32))
	binary.BigEndian.PutUint32(u[2:], uint32(ms))
	return formatUUID(u, 7)
}

// derivedID returns a UUID of version 8 (RFC 9562) that depends on nothing but
// the parts. Each part is preceded by its length, so that ("ab", "c") and
// ("a", "bc") differ.
func derivedID(parts ...[]byte) string {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	var u [16]byte
	copy(u[:], h.Sum(nil))
	return formatUUID(u, 8)
}

func formatUUID(u [16]byte, version byte) string {
	u[6] = u[6]&0x0f | version<<4
	u[8] = u[8]&0x3f | 0x80
	var s [36]byte
	hex.Encode(s[0:8], u[0:4])
	hex.Encode(s[9:13], u[4:6])
	hex.Encode(s[14:18], u[6:8])
	hex.Encode(s[19:23], u[8:10])
	hex.Encode(s[24:36], u[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}
