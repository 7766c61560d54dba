"""Everyday words in four languages, in their usual spelling: the texts that fingerspelled clips are made of."""

from __future__ import annotations


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split())


WORDS: dict[str, tuple[str, ...]] = {
    "en": _list(
        """
        about above across after again air almost along also always animal answer apple april arm ask aunt autumn
        baby back bag ball bank bath beach bean bear beautiful bed begin bell below best bicycle big bird black
        blanket blue boat body book bottle box boy branch bread breakfast bridge bright bring brother brown brush
        build bus butter button buy cake call camera candle car card carry cat chair cheap cheese chicken child
        circle city class clean clock cloud coat coffee cold color come cook corner count country cow cross cry cup
        dance dark daughter day deep desk dinner doctor dog door draw dream dress drink drive dry duck ear early
        earth east easy eat egg eight empty evening eye face family far farm fast father feather field finger fire
        fish five floor flower fly food foot forest fork four fox free fresh friday friend frog front fruit full
        game garden gate gift girl give glass gold good grandmother grass green ground group guess hair half hand
        happy hat head health hear heart heavy help high hill history hold holiday home honey horse hot hotel hour
        house hundred hungry ice idea island january job joy juice july jump june just keep key king kitchen knife
        know lake lamp language large last laugh leaf learn left lemon letter library light lion list listen long
        lost love lucky lunch machine map march market maybe meat meet milk minute mirror monday money monkey month
        moon morning mother mountain mouse mouth movie much museum music name near neck needle new news next nice
        night nine noise north nose november number ocean office often old open orange outside oxygen page paint
        pair paper park party peace pen pencil people pepper phone photo piano picture pig plane plant plate play
        please pocket police poor post potato present price prize pull push quality quarter queen question quick
        quiet rabbit radio rain read red rest rice rich right ring river road rock room rope round salt same sand
        saturday say school science sea season second see seven shape sheep ship shirt shoe shop short shoulder show
        sign silver simple sing sister six skin sky sleep slow small smell smile snake snow soap soft song soup
        south space speak spoon sport spring square stair star station stone story street strong student sugar
        summer sun sunday sweet swim table tail taxi tea teacher ten thank theatre thing think thirsty three
        thursday ticket tiger time tired today together tomato tomorrow tongue tooth town train travel tree tuesday
        turn twelve twenty two umbrella uncle under until vegetable very video village violin visit voice wait walk
        wall warm wash watch water weather wednesday week welcome west wet wheel white wide wife wind window wing
        winter woman wood word work world write wrong year yellow yesterday young zebra zero zoo
        """
    ),
    "de": _list(
        """
        abend affe ampel antwort apfel april arbeit arm arzt auge auto bad bahn bahnhof ball bank bauch bauer baum
        bein berg besuch bett bild birne blau blume boden bohne boot braun brief brille brot bruder brücke buch
        butter dach danke daumen decke deutsch dienstag donnerstag dorf drei dunkel durst ecke ei eins eis elf
        eltern ende ente erde essen eule fahne fahrrad familie farbe feder fenster ferien feuer film finger fisch
        flasche fliege fluss flugzeug frage frau freitag freude freund frosch früh frühling fuchs fünf fuß gabel
        gans garten gast gebäude geburtstag geld gelb gemüse geschenk gesicht gestern glas glück gold grau groß grün
        gut haar hafen hahn hals hand haus haut heft heiß hell hemd herbst herr herz heute hilfe himmel hirsch hof
        holz honig hose hotel huhn hund hunger hut igel insel ja jacke jahr januar junge juni käse kaffee kalt
        kamera karte kartoffel kasse katze kaufen keller kerze kind kino kirche klasse kleid klein knie koch koffer
        kohl könig kopf korb kraft krank kreis küche kuchen kuh kunst kurz lachen lampe land lang laut leben lehrer
        leicht leise licht lied links löffel löwe luft mai mann mantel markt mauer maus meer mensch messer milch
        mittag mittwoch möbel monat mond montag morgen motor müde mund museum musik mutter mütze nacht nadel name
        nase natur nebel neu neun norden nuss obst ofen ohr öl oma onkel opa orange osten papier park pferd pflanze
        pilz platz polizei post preis quadrat qualität quelle rad radio regen reich reis reise ring rock rosa rose
        rot rücken ruhe sache saft salat salz samstag sand satz schaf schere schiff schlange schloss schlüssel
        schnee schnell schön schuh schule schwarz schwester sechs see seife seite sieben silber sofa sohn sommer
        sonne sonntag spiegel spiel sprache stadt stein stern stift strand straße stuhl süden süß suppe tag tante
        tanz tasche tasse taxi tee telefon teller tennis tier tiger tisch tochter tomate topf tor traum treppe tür
        turm typ uhr urlaub vase vater verkehr vier vogel volk wagen wald wand wasser weg wein weiß welt wetter wind
        winter woche wohnung wolf wolke wort würfel wurst xylophon yoga zahl zahn zebra zehn zeit zeitung zelt
        zimmer zitrone zoo zucker zug zwei zwölf
        """
    ),
    "pt": _list(
        """
        abacaxi abril açúcar adeus agosto água ajuda alegre alto amanhã amarelo amigo amor andar animal ano aranha
        arroz arte árvore asa avião avó azul baixo banana banco banho barco bebê bicicleta boca bola bolo bom bonito
        braço branco brasil cabeça cabelo cachorro cadeira café caixa calor cama câmera caminho camisa campo caneta
        cantar carne caro carro carta casa cavalo cebola cedo cem chave cheio chuva cidade cinco cinema cinza coelho
        colher comer comida copo cor coração corpo correr cozinha criança dança dedo dente descanso dez dia difícil
        dinheiro doce dois domingo dormir duro elefante escada escola escrever escuro espelho estrela exame faca
        fácil falar família farinha fazer feijão feira feliz feriado festa filha filho filme flor floresta fogo
        folha fome formiga forte frango frio fruta futebol galinha garfo garrafa gato gelo girafa grande guerra
        história hoje homem hora hospital hotel igreja ilha inverno irmã irmão janela janeiro jardim jogo jornal
        jovem julho junho ketchup lápis laranja lavar leão leite lento ler letra limão limpo língua livro lobo longe
        loja lua luz maçã macaco mãe mala manhã mão mapa mar março médico menina mercado mês mesa milho moça moeda
        montanha mulher mundo muro museu música nariz natal navio neve noite nome norte nove novo nuvem oito olho
        ônibus ontem orelha ouro outono ouvir ovo pai palavra pão papel parede parque pássaro pato pé pedra peixe
        perna perto pimenta pipoca porco porta praça praia prato prêmio preto primavera professor ponte quadro
        quarta quatro queijo quente rápido rato rei relógio rio rosa roupa rua sábado sal sala sapato seco sede seis
        semana sete sino sol sopa sorriso sorvete sul táxi tarde tempo terra tesoura tigre tomate trabalho trem três
        triste uva vaca vaso velho vela vento verão verde vermelho vestido viagem vida vidro vinho violão vizinho
        voar voz web xadrez xale yoga zebra zero
        """
    ),
    "es": _list(
        """
        abeja abierto abril abuelo aceite adiós agosto agua ahora aire alegre alto amarillo amigo amor ancho animal
        año árbol arena arroz arte avión ayer ayuda azúcar azul bailar bajo banco baño barato barco barrio beber
        bebé bien blanco boca boda bolsa bonito bosque botella brazo bueno burro buzón caballo cabeza cadena café
        caja calle calor cama cámara camino camisa campo canción cara carne carta casa castillo catorce cebolla cena
        cerca cerdo cerrar cielo cien cinco cine ciudad claro clase coche cocina color comer comida conejo copa
        corazón correr corto cosa cuchara cuello cuerpo cuatro dedo deporte despacio día diciembre diente diez
        difícil dinero doce domingo dormir dos dulce edificio ejemplo elefante enero enfermo escalera escribir
        escuela espejo estrella examen fácil familia fecha feliz fiesta flor frío fresa fruta fuego fuente fuerte
        gafas gallina gato gente globo grande gris guante guerra guitarra hablar hambre hermano hielo hija hijo
        historia hoja hombre hora hospital hotel hoy huevo idea iglesia invierno isla jabón jardín jefe jirafa joven
        juego jueves jugar julio junio kilo koala lago lámpara lápiz largo leche leer lejos lengua lento león letra
        libro limón limpio lluvia lobo luna lunes luz madre maestro mano mañana manzana mapa mar martes marzo mayo
        médico mejor mercado mes mesa metro miel mono montaña mundo museo música nadar naranja nariz natural nieve
        niño noche nombre norte novia nube nueve número nuevo ocho ojo ola oreja oro oso otoño oveja padre pájaro
        palabra pan papel parque pastel patata pato paz pelo pelota perro pescado pie piedra pierna piña piso plato
        playa plaza pluma pobre poco pollo primavera primo puente puerta queso quince radio rana rápido ratón regalo
        reina reloj río rojo ropa rosa rueda sábado sal sala salud sangre seis semana señal sexto siete silla sol
        sopa sueño sur taxi taza té teatro tenedor tiempo tienda tierra tigre tío tomate tortuga trabajo tren tres
        triste uno uva vaca vacío vaso vecino veinte vela verano verde vestido viaje vida viejo viento viernes vino
        voz web yate yogur zapato zorro zumo
        """
    ),
}


def words(language: str = "", *, held_out: bool | None = None) -> tuple[str, ...]:
    """Words of one language, or of all four where `language` is empty; about every fourth is held out from training.

    Args:
        language: `en`, `de`, `pt`, `es`, or empty for all.
        held_out: True for the held-out words, False for the rest, None for both. A spelling that two languages share is
            on one side only: the side is decided by the spelling, not by its place in the list.

    Raises:
        ValueError: the language has no list.
    """
    if language and language not in WORDS:
        raise ValueError(f"language must be one of {sorted(WORDS)} or empty, got {language!r}")
    chosen = WORDS[language] if language else tuple(dict.fromkeys(w for some in WORDS.values() for w in some))
    if held_out is None:
        return chosen
    return tuple(word for word in chosen if _is_held_out(word) == held_out)


def _is_held_out(word: str) -> bool:
    """A side that does not move when words are added: one of four residues of a small polynomial hash."""
    value = 0
    for character in word.casefold():
        value = (value * 31 + ord(character)) % 1_000_003
    return value % 4 == 0
