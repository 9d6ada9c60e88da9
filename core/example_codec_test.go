package core_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"

	"github.com/goairlock/airlock/core"
)

// XML is a codec for a worker in another language that reads XML.
type XML struct{}

func (XML) Encode(args any) ([]byte, error) { return xml.Marshal(args) }

// Decode does not pass on the errors of encoding/xml, since their text can contain
// arguments.
func (XML) Decode(payload []byte, args any) error {
	err := xml.Unmarshal(payload, args)
	var syntax *xml.SyntaxError
	switch {
	case errors.As(err, &syntax), errors.Is(err, io.EOF):
		return fmt.Errorf("not XML: %w", core.ErrMalformed) // no version of the task can read it
	case err != nil:
		return errors.New("XML that does not fit the type")
	}
	return nil
}

type Parcel struct {
	Order  int `xml:"order"`
	Weight int `xml:"weight"`
}

var ShipParcel = core.DeclareTask[Parcel]("parcel.ship").Codec(XML{})

func ExampleCodec() {
	in, err := ShipParcel.Intent(Parcel{Order: 7, Weight: 450})
	fmt.Printf("%s %v\n", in.Payload(), err)
	parcel, err := ShipParcel.Args(in)
	fmt.Println(parcel.Weight, err)
	_, err = ShipParcel.Decode([]byte("<Parcel>"))
	fmt.Println(errors.Is(err, core.ErrMalformed))
	// Output:
	// <Parcel><order>7</order><weight>450</weight></Parcel> <nil>
	// 450 <nil>
	// true
}
