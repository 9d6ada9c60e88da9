package demo

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/goairlock/airlock/examples/quickstart/shop"
)

//go:embed orders.json
var sample []byte

// readOrders reads a JSON array of orders from a file. "-" is the standard input, and
// "" is the embedded sample. Anything else than an array is an error. Malformed orders
// are left out, and bad has an error for each.
func readOrders(file string) (orders []shop.Order, bad []error, err error) {
	data := sample
	switch file {
	case "":
		file = "orders.json"
	case "-":
		file = "standard input"
		data, err = io.ReadAll(os.Stdin)
	default:
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, nil, err
	}
	orders, bad, err = parseOrders(data)
	for i := range bad {
		bad[i] = fmt.Errorf("%s:%w", file, bad[i])
	}
	if err != nil {
		err = fmt.Errorf("%s:%w", file, err)
	}
	return orders, bad, err
}

func parseOrders(data []byte) (orders []shop.Order, bad []error, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	start, err := dec.Token()
	if err != nil || start != json.Delim('[') {
		return nil, nil, at(data, nextValue(data, 0), "want a JSON array of orders")
	}
	lineOf := map[string]int{} // order ID → where it was
	for n := 1; dec.More(); n++ {
		begin := nextValue(data, dec.InputOffset())
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, nil, at(data, begin+syntaxOffset(data[begin:]), "order %d: malformed JSON", n)
		}
		o, err := parseOrder(raw)
		if err == nil {
			err = o.Validate()
		}
		if before, twice := lineOf[o.ID]; err == nil && twice {
			err = fmt.Errorf("id %s is taken by the order on line %d", o.ID, before)
		}
		if err != nil {
			bad = append(bad, at(data, begin, "order %d: %v", n, err))
			continue
		}
		lineOf[o.ID], _ = position(data, begin)
		orders = append(orders, o)
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, at(data, dec.InputOffset(), "the array of orders does not end")
	}
	if rest := nextValue(data, dec.InputOffset()); rest < int64(len(data)) {
		return nil, nil, at(data, rest, "data after the array of orders")
	}
	return orders, bad, nil
}

func parseOrder(raw []byte) (shop.Order, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var o shop.Order
	err := dec.Decode(&o)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return o, fmt.Errorf("%s: a %s does not fit", wrong.Field, wrong.Value)
	}
	return o, err
}

// nextValue skips what may stand between two values.
func nextValue(data []byte, from int64) int64 {
	for from < int64(len(data)) && bytes.IndexByte([]byte(" \t\r\n,"), data[from]) >= 0 {
		from++
	}
	return from
}

// syntaxOffset returns the offset of the syntax error in the first value of data. The
// offsets of a json.Decoder do not count what it skipped between values.
func syntaxOffset(data []byte) int64 {
	var value json.RawMessage
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(data, &value), &syntax) && syntax.Offset > 0 {
		return syntax.Offset - 1
	}
	return int64(len(data))
}

// at is an error that begins with a line and a column.
func at(data []byte, offset int64, format string, args ...any) error {
	line, column := position(data, offset)
	return fmt.Errorf("%d:%d: %w", line, column, fmt.Errorf(format, args...))
}

func position(data []byte, offset int64) (line, column int) {
	before := data[:min(max(offset, 0), int64(len(data)))]
	return bytes.Count(before, []byte{'\n'}) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}
