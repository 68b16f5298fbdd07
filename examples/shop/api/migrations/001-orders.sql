CREATE TABLE products (
    name  text PRIMARY KEY,
    price numeric(8, 2) NOT NULL CHECK (price > 0)
);

CREATE TABLE orders (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product  text NOT NULL REFERENCES products (name),
    quantity integer NOT NULL CHECK (quantity BETWEEN 1 AND 100),
    placed   timestamptz NOT NULL DEFAULT now()
);
