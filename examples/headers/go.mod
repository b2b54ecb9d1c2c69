module headers

go 1.24
