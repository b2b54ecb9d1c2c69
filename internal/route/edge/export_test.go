package edge

// Use puts a table's text into use, without keeping it.
func Use(e *Edge, text []byte) error {
	e.put.Lock()
	defer e.put.Unlock()
	_, err := e.use(text)
	return err
}
