INSERT INTO products (name, price) VALUES
    ('Bamboo pole', 12.50),
    ('Oar', 34.00),
    ('Rice basket', 8.75),
    ('Straw hat', 15.20);
